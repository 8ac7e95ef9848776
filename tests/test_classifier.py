"""The estimator as a user meets it: data, labels, fitted attributes, side effects, parts, scikit-learn's tools."""

import contextlib
import copy
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from pytorch_metric_learning.losses import SupConLoss
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_classifiers_train, check_fit_idempotent, parametrize_with_checks
from torch import nn

from skdmlpl import DMLPseudoLabelClassifier, _classifier, _defaults, _mlp, _network, _rounds
from skdmlpl._prior import consult_neighbors
from skdmlpl.augmentations import WeakImageAugmentation
from skdmlpl.backbones import torchvision_backbone
from skdmlpl.model_selection import LabeledStratifiedKFold
from skdmlpl.selectors import ConfidenceSelector, GraphPropagationSelector, NearestNeighborSelector

N_CLASSES, N_FEATURES = 3, 4


def name_of(part):
    """Return a test id that is the same in every process, as that of a function is not."""
    return getattr(part, "__name__", str(part))


def classifier(**params):
    return DMLPseudoLabelClassifier(**({"n_steps": 5, "max_rounds": 2, "random_state": 0, "device": "cpu"} | params))


def blobs(n=60, seed=0):
    """Rows around N_CLASSES corners, of every class in turn."""
    y = np.arange(n) % N_CLASSES
    X = np.random.default_rng(seed).normal(size=(n, N_FEATURES)) + 4 * np.eye(N_CLASSES, N_FEATURES)[y]
    return X, y


def images(n=24):
    """Noise, brighter in one row of pixels for each class, uint8."""
    y = np.arange(n) % N_CLASSES
    X = np.random.default_rng(0).integers(0, 120, (n, 1, 8, 8))
    X[np.arange(n), 0, 2 * y] += 100
    return X.astype(np.uint8), y


X, Y = blobs()
U, U_TRUTH = blobs(40, seed=1)
Y_PARTLY = np.where(np.arange(60) < 40, Y, -1)
IMAGES, IMAGE_Y = images()


def tiny_image_backbone(input_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), 8), nn.ReLU())


def small_backbone(**params):
    return nn.Sequential(nn.Linear(N_FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    return classifier(n_steps=100).fit(X, Y_PARTLY, U)


# ---------------------------------------------------------------------------------------------------------------- data


def memory_mapped(array, folder):
    file = folder / f"{len(list(folder.iterdir()))}.npy"
    np.save(file, array)
    return np.load(file, mmap_mode="r")


def strided(array, folder):
    wide = np.repeat(np.repeat(array, 2, axis=0), 2, axis=-1)
    return wide[::2, ..., ::2]


LAYOUTS = {
    "C order": lambda array, folder: array,
    "Fortran order": lambda array, folder: np.asfortranarray(array),
    "strided": strided,
    "reversed": lambda array, folder: np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1],
    "big-endian": lambda array, folder: array.astype(array.dtype.newbyteorder(">")),
    "read-only memory map": memory_mapped,
}
layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def assert_same_model(one, other, rows, other_rows=None):
    np.testing.assert_array_equal(one.classes_, other.classes_)
    np.testing.assert_array_equal(
        one.predict_proba(rows), other.predict_proba(rows if other_rows is None else other_rows)
    )
    np.testing.assert_array_equal(one.transduction_, other.transduction_)


@layouts
@pytest.mark.parametrize("dtype", ["f8", "f4", "i8"])
def test_the_layout_of_tables_changes_nothing(layout, dtype, tmp_path):
    plain_X, plain_U = (10 * X).astype(dtype), (10 * U).astype(dtype)
    given_X = layout(plain_X, tmp_path)
    model = classifier().fit(given_X, Y_PARTLY, layout(plain_U, tmp_path))
    assert_same_model(model, classifier().fit(plain_X, Y_PARTLY, plain_U), given_X, plain_X)


@layouts
@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_the_layout_of_images_changes_nothing(layout, dtype, tmp_path):
    params = {"backbone": tiny_image_backbone, "n_steps": 2}
    plain = IMAGES.astype(dtype)
    given = layout(plain, tmp_path)
    model = classifier(**params).fit(given, IMAGE_Y, given[:9])
    assert_same_model(model, classifier(**params).fit(plain, IMAGE_Y, plain[:9]), given, plain)


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i4", "u8", "f2", "f4", "g"])
def test_the_dtype_of_tables_changes_nothing_but_precision(dtype):
    (given_X, given_U) = ((10 * part + (50 if dtype[0] == "u" else 0)).astype(dtype) for part in (X, U))
    model = classifier().fit(given_X, Y_PARTLY, given_U)
    as_float64 = given_X.astype(np.float64)
    reference = classifier().fit(as_float64, Y_PARTLY, given_U.astype(np.float64))
    assert_same_model(model, reference, given_X, as_float64)


def test_uint8_images_are_taken_as_shares_of_full_brightness():
    params = {"backbone": tiny_image_backbone, "n_steps": 2}
    as_shares = IMAGES.astype(np.float32) / np.float32(255)
    assert_same_model(
        classifier(**params).fit(IMAGES, IMAGE_Y), classifier(**params).fit(as_shares, IMAGE_Y), IMAGES, as_shares
    )


def test_images_with_the_default_network():
    model = classifier(n_steps=2, max_rounds=1).fit(IMAGES, IMAGE_Y, IMAGES[:7])
    assert model.n_features_in_ == 1
    assert model.predict(IMAGES).shape == (24,)
    assert model.predict_proba(IMAGES).shape == (24, N_CLASSES)
    np.testing.assert_allclose(np.linalg.norm(model.transform(IMAGES), axis=1), 1, rtol=1e-5)
    assert 0 <= model.score(IMAGES, IMAGE_Y) <= 1


@pytest.mark.parametrize("names", [list("abcd"), range(4)], ids=str)
def test_data_frames(names):
    frame, unlabeled = pd.DataFrame(X, columns=names), pd.DataFrame(U, columns=names)
    model = classifier().fit(frame, pd.Series(Y_PARTLY), unlabeled)
    assert_same_model(model, classifier().fit(X, Y_PARTLY, U), frame, X)
    assert hasattr(model, "feature_names_in_") == (names == list("abcd"))


def test_data_frames_of_mixed_columns():
    frame = pd.DataFrame(
        {"a": X[:, 0], "b": X[:, 1].astype(int), "c": X[:, 2] > 1, "d": pd.array(Y + 1, dtype="Int64")}
    )
    assert classifier().fit(frame, Y_PARTLY, frame[:7]).predict(frame).shape == (60,)


def test_lists_are_fine():
    model = classifier().fit(X.tolist(), Y_PARTLY.tolist(), U.tolist())
    assert_same_model(model, classifier().fit(X, Y_PARTLY, U), X.tolist(), X)


# ------------------------------------------------------------------------------------------------------ forms of fit


def test_unlabelled_rows_may_come_in_X_or_apart(fitted):
    stacked = classifier(n_steps=100).fit(np.concatenate([X, U]), np.concatenate([Y_PARTLY, np.full(40, -1)]))
    assert_same_model(fitted, stacked, X)
    np.testing.assert_array_equal(fitted.labeled_iter_, stacked.labeled_iter_)
    np.testing.assert_array_equal(fitted.label_distributions_, stacked.label_distributions_)


@pytest.mark.parametrize(
    "nothing", [None, [], (), np.empty((0, N_FEATURES)), np.empty((0, N_FEATURES), dtype=int), pd.DataFrame()], ids=repr
)
@pytest.mark.parametrize("y", [Y, Y_PARTLY], ids=["fully labelled", "partly labelled"])
def test_no_further_unlabelled_rows(nothing, y):
    assert_same_model(classifier().fit(X, y, nothing), classifier().fit(X, y), X)


def test_no_further_unlabelled_rows_beside_a_frame():
    frame = pd.DataFrame(X, columns=list("abcdefgh")[:N_FEATURES])
    for nothing in (pd.DataFrame(), frame[:0], []):
        assert_same_model(classifier().fit(frame, Y, nothing), classifier().fit(frame, Y), frame)


def test_fully_labelled():
    model = classifier().fit(X, Y)
    assert model.n_rounds_ == 0
    assert model.termination_condition_ == "no_unlabeled"
    np.testing.assert_array_equal(model.transduction_, Y)
    np.testing.assert_array_equal(model.labeled_iter_, np.zeros(60))
    np.testing.assert_array_equal(model.label_distributions_, np.eye(N_CLASSES)[Y])
    np.testing.assert_allclose(model.unlabeled_prior_, 1 / 3)


def test_no_rounds():
    model = classifier(max_rounds=0).fit(X, Y_PARTLY, U)
    assert model.n_rounds_ == 0
    assert model.termination_condition_ == "max_rounds"
    np.testing.assert_array_equal(model.transduction_, np.concatenate([Y_PARTLY, np.full(40, -1)]))
    np.testing.assert_array_equal(model.labeled_iter_, np.where(model.transduction_ >= 0, 0, -1))
    np.testing.assert_allclose(model.label_distributions_.sum(axis=1), 1, rtol=1e-5)
    alone = classifier(max_rounds=0).fit(X[Y_PARTLY >= 0], Y[Y_PARTLY >= 0])
    np.testing.assert_array_equal(model.predict_proba(U), alone.predict_proba(U))


SMALL = {
    "two rows": (X[:2], [0, 1], None),
    "two rows and one unlabelled": (X[:2], [0, 1], U[:1]),
    "one row of a class": (X, np.where(np.arange(60) == 7, 2, np.arange(60) % 2), U),
    "one unlabelled row": (X, Y, U[:1]),
    "fewer unlabelled rows than neighbours": (X, Y, U[:4]),
    "two classes": (X, Y % 2, U),
    "one row for each of 30 classes": (X[:30], np.arange(30), U),
    "all rows the same": (np.ones((20, 3)), np.arange(20) % 3, np.ones((5, 3))),
    "one column": (X[:, :1], Y, U[:, :1]),
}


@pytest.mark.parametrize(("rows", "y", "unlabeled"), SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("selector", [None, NearestNeighborSelector()], ids=["default", "clusters"])
def test_small_problems(rows, y, unlabeled, selector):
    model = classifier(selector=selector).fit(rows, y, unlabeled)
    np.testing.assert_array_equal(model.classes_, np.unique(y))
    proba = model.predict_proba(rows)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert set(model.transduction_) <= set(y)


@pytest.mark.parametrize("batch_size", [4, 5])
def test_the_smallest_batches(batch_size):
    model = classifier(batch_size=batch_size).fit(X, Y_PARTLY, U)
    assert np.isfinite(model.predict_proba(X)).all()


# -------------------------------------------------------------------------------------------------------------- labels


def series(dtype):
    return partial(pd.Series, dtype=dtype)


def of_objects(labels):
    return np.array(labels, dtype=object)


LABELS = {  # three classes, in their order; the mark of unlabelled rows; a container; the mark in transduction_
    "int": ([0, 1, 2], -1, np.array, -1),
    "negative int": ([-7, -2, 5], -1, np.array, -1),
    "int and None": ([0, 1, 2], None, list, -1),
    "int8": ([0, 1, 2], -1, partial(np.array, dtype=np.int8), -1),
    "whole float": ([1.0, 2.0, 30.0], -1.0, np.array, -1),
    "float and NaN": ([0.0, 1.0, 2.0], np.nan, np.array, -1),
    "Int64": ([3, 4, 2**60 + 1], pd.NA, series("Int64"), -1),
    "Float64": ([3.0, 4.0, 5.0], pd.NA, series("Float64"), -1),
    "bool and None": ([False, True], None, list, None),
    "boolean": ([False, True], pd.NA, series("boolean"), None),
    "str and None": (["a", "b", "long"], None, list, None),
    "object and None": (["a", "b", "long"], None, of_objects, None),
    "object and NaN": (["a", "b", "long"], np.nan, of_objects, None),
    "object and NA": (["a", "b", "long"], pd.NA, of_objects, None),
    "object and -1": (["a", "b", "long"], -1, of_objects, None),
    "numpy str objects": ([np.str_("a"), np.str_("b")], np.int64(-1), of_objects, None),
    "pandas str": (["a", "b", "c"], None, series("str"), None),
    "pandas string": (["a", "b", "c"], pd.NA, series("string"), None),
    "pandas object": (["a", "b", "c"], None, series(object), None),
    "categorical str": (["a", "b", "c"], None, series("category"), None),
    "categorical int": ([4, 5, 6], pd.NA, lambda labels: series("Int64")(labels).astype("category"), -1),
    "empty string": (["", "a"], None, of_objects, None),
}


@pytest.mark.parametrize(("classes", "mark", "container", "expected_mark"), LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("max_rounds", [0, 1])
def test_labels(classes, mark, container, expected_mark, max_rounds):
    given = [classes[i % len(classes)] for i in range(30)]
    model = classifier(n_steps=2, max_rounds=max_rounds).fit(X[:40], container([*given, *[mark] * 10]), U[:5])
    assert model.classes_.tolist() == classes
    assert [type(label) for label in model.classes_.tolist()] == [type(np.array(c).item()) for c in classes]
    transduction = model.transduction_.tolist()
    assert transduction[:30] == given
    if max_rounds == 0:
        assert transduction[30:] == [expected_mark] * 15
    else:
        assert set(transduction[30:]) <= set(classes)
    assert model.predict(X).dtype == model.classes_.dtype
    np.testing.assert_array_equal(model.labeled_iter_, [0] * 30 + [1 if max_rounds else -1] * 15)


NO_MARK = {
    "uint8": (partial(np.array, dtype=np.uint8), [0, 1, 2], -1),
    "bool": (np.array, [False, True], None),
    "str": (np.array, ["a", "b", "long"], None),
    "numpy's StringDType": (partial(np.array, dtype=np.dtypes.StringDType()), ["a", "b", "long"], None),
}


@pytest.mark.parametrize(("container", "classes", "expected_mark"), NO_MARK.values(), ids=NO_MARK)
def test_labels_of_types_that_cannot_mark_unlabelled_rows(container, classes, expected_mark):
    given = [classes[i % len(classes)] for i in range(60)]
    model = classifier(n_steps=2, max_rounds=0).fit(X, container(given), U)
    assert model.classes_.tolist() == classes
    assert model.transduction_.tolist() == [*given, *[expected_mark] * 40]


@pytest.mark.parametrize(
    ("values", "classes", "n_unlabeled"),
    [
        ([-1, 1], [-1, 1], 0),
        ([-1.0, 1.0], [-1, 1], 0),
        ([-1, 1, None], [-1, 1], 20),
        ([-1.0, 1.0, np.nan], [-1, 1], 20),
        ([-1, 0, 1], [0, 1], 20),
        ([-1, 1, 2], [1, 2], 20),
        ([False, True], [False, True], 0),
    ],
    ids=str,
)
def test_minus_one_is_a_class_only_beside_one(values, classes, n_unlabeled):
    y = [values[i % len(values)] for i in range(60)]
    model = classifier(n_steps=2, max_rounds=0).fit(X, y)
    assert model.classes_.tolist() == classes
    assert (model.labeled_iter_ == -1).sum() == n_unlabeled


# --------------------------------------------------------------------------------------------------- fitted attributes


def test_fitted_attributes(fitted):
    given = np.concatenate([Y_PARTLY, np.full(40, -1)]) >= 0
    assert fitted.classes_.tolist() == [0, 1, 2]
    assert fitted.n_features_in_ == N_FEATURES
    assert fitted.n_rounds_ == len(fitted.history_) - 1 == 2
    assert (fitted.n_steps_, fitted.learning_rate_, fitted.weight_decay_) == (100, 2e-3, 1.0)
    assert [record.round for record in fitted.history_] == [0, 1, 2]
    assert fitted.termination_condition_ == "all_labeled"
    assert type(fitted.termination_condition_) is str
    assert fitted.unlabeled_prior_.shape == (N_CLASSES,)
    assert fitted.unlabeled_prior_.sum() == pytest.approx(1)
    assert (fitted.unlabeled_prior_ > 0).all()
    assert isinstance(fitted.network_, nn.Module)
    assert not fitted.network_.training

    assert fitted.transduction_.shape == fitted.labeled_iter_.shape == (100,)
    np.testing.assert_array_equal(fitted.transduction_[:40], Y[:40])
    assert set(fitted.transduction_) == {0, 1, 2}
    assert (fitted.labeled_iter_[given] == 0).all()
    assert fitted.labeled_iter_[~given].min() >= 1
    assert fitted.labeled_iter_.max() <= fitted.n_rounds_
    np.testing.assert_array_equal(fitted.transduction_[~given], fitted.history_[-1].pseudo_labels.labels)

    assert fitted.label_distributions_.shape == (100, N_CLASSES)
    np.testing.assert_allclose(fitted.label_distributions_.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(fitted.label_distributions_[given], np.eye(N_CLASSES)[Y[:40]])


def test_transduction_is_in_the_order_of_the_rows(fitted):
    """The rows are easy enough that a wrong order would show."""
    np.testing.assert_array_equal(fitted.transduction_, np.concatenate([Y, U_TRUTH]))
    np.testing.assert_array_equal(fitted.label_distributions_.argmax(axis=1), np.concatenate([Y, U_TRUTH]))


def test_given_labels_stay_even_where_they_are_wrong():
    noise = np.random.default_rng(0).integers(0, N_CLASSES, 60)
    model = classifier(n_steps=40).fit(X, np.where(np.arange(60) % 2, noise, -1), U)
    np.testing.assert_array_equal(model.transduction_[1:60:2], noise[1::2])
    assert (model.labeled_iter_[1:60:2] == 0).all()


def test_predictions(fitted):
    proba, embeddings = fitted.predict_proba(X), fitted.transform(X)
    assert proba.shape == (60, N_CLASSES)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(fitted.predict(X), proba.argmax(axis=1))
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    assert fitted.score(X, Y) == np.mean(fitted.predict(X) == Y) > 0.95
    cosines = embeddings @ embeddings.T
    same = Y[:, None] == Y
    assert cosines[same].mean() > cosines[~same].mean() + 0.2
    np.testing.assert_allclose(fitted.transform(X[:1]), embeddings[:1], rtol=1e-5)


@pytest.mark.parametrize("mark", [None, np.nan, pd.NA], ids=repr)
def test_only_labelled_rows_can_be_scored(fitted, mark):
    y = Y.astype(object)
    y[:2] = mark
    with pytest.raises(ValueError, match="Got None, NaN or NA for 2 of 60 rows: leave them out"):
        fitted.score(X, y)


def test_scoring_needs_a_fit_and_labels(fitted):
    with pytest.raises(NotFittedError):
        classifier().score(X, Y_PARTLY)
    with pytest.raises(ValueError, match="score needs y"):
        fitted.score(X, None)


def test_unlabelled_rows_of_another_distribution_are_noticed():
    rare = np.flatnonzero(U_TRUTH != 2)
    model = classifier(n_steps=60).fit(X, Y, U[rare])
    assert model.unlabeled_prior_[2] < 0.1


def test_rows_a_selector_leaves_out_have_no_label():
    def not_the_last(embeddings, y, proba):
        labels = proba.argmax(axis=1)
        labels[-5:] = -1
        return labels, np.ones(len(y))

    model = classifier(selector=not_the_last).fit(X, Y_PARTLY, U)
    np.testing.assert_array_equal(model.labeled_iter_[-5:], -1)
    np.testing.assert_array_equal(model.transduction_[-5:], -1)
    assert (model.transduction_[:-5] >= 0).all()
    assert model.termination_condition_ == "max_rounds"


def test_labeled_iter_is_the_round_of_the_last_change():
    """The first unlabelled row is proposed as class 0, then 1; the second always as 1; the third from round 2 on."""
    calls = []

    def scripted(embeddings, y, proba):
        calls.append(1)
        labels = np.full(len(y), -1)
        labels[60:63] = [len(calls) - 1, 1, 2 if len(calls) > 1 else -1]
        return labels, np.ones(len(y))

    model = classifier(selector=scripted).fit(X, Y, U[:3])
    np.testing.assert_array_equal(model.labeled_iter_[60:], [2, 1, 2])
    np.testing.assert_array_equal(model.transduction_[60:], [1, 1, 2])


# ----------------------------------------------------------------------------------------- randomness and side effects


@pytest.mark.parametrize("rows", ["table", "images"])
def test_one_random_state_gives_one_result(rows):
    data = (X, Y_PARTLY, U) if rows == "table" else (IMAGES, np.where(np.arange(24) < 12, IMAGE_Y, -1), IMAGES[:5])
    params = {"n_steps": 3, "max_rounds": 1}
    one = classifier(**params).fit(*data)
    torch.manual_seed(99)
    again = classifier(**params).fit(*data)
    assert_same_model(one, again, data[0])
    for name, tensor in one.network_.state_dict().items():
        assert torch.equal(tensor, again.network_.state_dict()[name]), name
    for record, other in zip(one.history_, again.history_, strict=True):
        assert record.classification_loss == other.classification_loss
        assert record.metric_loss == other.metric_loss
        np.testing.assert_equal(record.pseudo_labels, other.pseudo_labels)
    assert not np.array_equal(
        one.transform(data[0]), classifier(**params, random_state=1).fit(*data).transform(data[0])
    )


def test_random_states_that_advance():
    def embedded(random_state):
        return classifier(n_steps=1, random_state=random_state).fit(X, Y).transform(X)

    state, same_state = np.random.RandomState(3), np.random.RandomState(3)
    first = embedded(state)
    np.testing.assert_array_equal(first, embedded(same_state))
    assert not np.array_equal(first, embedded(state))
    assert not np.array_equal(embedded(None), embedded(None))
    np.testing.assert_array_equal(embedded(np.int64(5)), embedded(5))


def test_fits_in_threads_do_not_disturb_each_other():
    def proba(seed):
        torch.set_num_threads(1)
        return classifier(random_state=seed).fit(X, Y_PARTLY, U).predict_proba(X)

    before = global_state()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(proba, range(4)))
    assert global_state() == before
    for seed in range(4):
        np.testing.assert_array_equal(together[seed], proba(seed))


def global_state():
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "flushed": (torch.tensor([1e-40], dtype=torch.float32) * 1).item() == 0,
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "numpy errors": np.geterr(),
    }


@contextlib.contextmanager
def flushing():
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def fails_late(embeddings, y, proba):
    raise KeyError("from the selector")


def in_bfloat16():
    return torch.autocast("cpu", dtype=torch.bfloat16)


@pytest.mark.parametrize("selector", [None, fails_late], ids=["fits", "fails"])
@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize(
    "mode",
    [contextlib.nullcontext, torch.no_grad, torch.inference_mode, flushing, in_bfloat16],
    ids=lambda mode: mode.__name__,
)
def test_global_state_is_left_as_it_was(selector, random_state, mode):
    model = classifier(selector=selector, random_state=random_state)
    with mode():
        before = global_state()
        with contextlib.nullcontext() if selector is None else pytest.raises(KeyError):
            model.fit(X, Y_PARTLY, U).predict_proba(X)
        assert global_state() == before


@pytest.mark.parametrize("rows", [X, IMAGES], ids=["table", "images"])
def test_the_callers_precision_does_not_matter(rows):
    params = {} if rows is X else {"backbone": tiny_image_backbone}
    y = Y_PARTLY[: len(rows)]
    model = classifier(**params).fit(rows, y)
    with in_bfloat16():
        again = classifier(**params).fit(rows, y)
        assert_same_model(model, again, rows)
    assert_same_model(model, again, rows)


@pytest.mark.parametrize(
    ("around_fit", "around_forward", "native"),
    [
        pytest.param(contextlib.nullcontext, contextlib.nullcontext, True, id="the package's"),
        pytest.param(in_bfloat16, contextlib.nullcontext, True, id="the package's, within the caller's"),
        pytest.param(contextlib.nullcontext, in_bfloat16, False, id="the backbone's"),
    ],
)
def test_in_lower_precision_each_step_computes_with_the_weights_that_the_last_one_left(
    around_fit, around_forward, native, monkeypatch
):
    """Within one autocast around a fit, the first step's weights would be those of all steps."""
    monkeypatch.setattr(_network, "_cpu_computes_in_bfloat16", lambda: native)
    seen = []  # of each step: the dtype, the first weight, and how far the output is from what the weights give

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 8)

        def forward(self, batch):
            rows, weight, bias = batch.flatten(1), self.linear.weight, self.linear.bias
            with around_forward():
                features = self.linear(rows)
            if self.training:
                with torch.no_grad(), torch.autocast("cpu", enabled=False):
                    exact = rows @ weight.T + bias
                    seen.append((features.dtype, weight[0, 0].item(), (features - exact).abs().max().item()))
            return features

    with around_fit():
        classifier(backbone=Backbone(), learning_rate=0.1).fit(IMAGES, np.where(np.arange(24) < 18, IMAGE_Y, -1))
    dtypes, weights, errors = zip(*seen, strict=True)
    assert set(dtypes) == {torch.bfloat16}
    assert max(weights) - min(weights) > 0.1
    assert max(errors) < 0.1


@contextlib.contextmanager
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "defaults", [float64_by_default, lambda: torch.device("meta")], ids=["float64", "another device"]
)
@pytest.mark.parametrize(
    "params",
    [{}, {"backbone": lambda shape: nn.Linear(*shape, 8)}, {"n_steps": None, "max_rounds": 0}],
    ids=["built in", "own", "chosen by held-out rows"],
)
def test_the_callers_defaults_do_not_matter(defaults, params):
    model = classifier(**params).fit(X, Y_PARTLY, U)
    with defaults():
        again = classifier(**params).fit(X, Y_PARTLY, U)
        assert_same_model(model, again, X)


def test_other_devices_are_not_seeded(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    classifier(device="cpu").fit(X, Y_PARTLY, U)
    assert seeded == []


@pytest.mark.parametrize("writeable", [True, False])
@pytest.mark.parametrize("kind", ["table", "images"])
def test_the_callers_arrays_are_only_read(kind, writeable):
    arrays = [X, Y_PARTLY, U] if kind == "table" else [IMAGES, IMAGE_Y, IMAGES[:9]]
    arrays = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = writeable
    before = [array.copy() for array in arrays]

    def overwrite(batch, generator):
        return batch.mul_(0.5)

    model = classifier(n_steps=2, augmentation=overwrite).fit(*arrays)
    model.predict(arrays[0])
    for array, copied in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copied)
        assert array.flags.writeable == writeable


def test_a_fit_does_not_depend_on_what_happens_to_the_arrays_later():
    data = [X.copy(), Y_PARTLY.copy(), U.copy()]
    model = classifier().fit(*data)
    before = model.transduction_.copy()
    for array in data:
        array[:] = 0
    np.testing.assert_array_equal(model.transduction_, before)


@pytest.mark.parametrize("training", [True, False])
def test_a_backbone_passed_in_is_left_alone(training):
    backbone = small_backbone().train(training)
    before = copy.deepcopy(backbone.state_dict())
    model = classifier(backbone=backbone).fit(X, Y_PARTLY, U)
    assert backbone.training == training
    assert all(parameter.grad is None for parameter in backbone.parameters())
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not torch.equal(model.network_.backbone[0].weight, backbone[0].weight)


def test_fit_changes_no_parameter_nor_part():
    parts = {
        "backbone": small_backbone(),
        "metric_loss": SupConLoss(),
        "selector": NearestNeighborSelector(),
        "augmentation": lambda batch, generator: batch,
    }
    model = classifier(**parts)
    before = dict(vars(model))
    model.fit(X, Y_PARTLY, U)
    for name, value in before.items():
        assert getattr(model, name) is value, name


def test_fitting_again_starts_afresh(fitted):
    model = classifier(n_steps=100).fit(IMAGES, IMAGE_Y)
    assert_same_model(model.fit(X, Y_PARTLY, U), fitted, X)
    assert model.n_features_in_ == N_FEATURES


# ---------------------------------------------------------------------------------------------------- knobs and parts


def test_margin_changes_the_embeddings():
    narrow, wide = (classifier(margin=margin).fit(X, Y).transform(X) for margin in (0.0, 1.0))
    assert np.abs(narrow - wide).max() > 1e-3


@pytest.mark.parametrize("max_rounds", [1, 2])
def test_n_neighbors_changes_the_pseudo_labels(max_rounds):
    few, many = (
        classifier(n_neighbors=k, max_rounds=max_rounds).fit(X, Y_PARTLY, U).history_[1].pseudo_labels for k in (1, 20)
    )
    assert not np.array_equal(few.weights, many.weights)


@pytest.mark.parametrize(
    "params",
    [{"metric_weight": 0.0}, {"weight_decay": 5.0}, {"learning_rate": 1e-2}, {"batch_size": 16}, {"n_steps": 6}],
    ids=str,
)
def test_every_other_number_counts_too(params):
    assert not np.array_equal(classifier(**params).fit(X, Y).transform(X), classifier().fit(X, Y).transform(X))


def checkerboard(n, rng):
    X = rng.uniform(0, 3, (n, 2))
    return X, np.floor(X).sum(axis=1) % 2


def noisy_half_spaces(n, rng):
    X = rng.normal(size=(n, 10))
    return X, X @ np.linspace(-1, 1, 10) + 2 * rng.normal(size=n) > 0


@pytest.mark.parametrize(
    ("problem", "numbers"),
    [
        (checkerboard, {"n_steps": 320, "learning_rate": 0.016, "weight_decay": 2.0}),
        (noisy_half_spaces, {"n_steps": 80, "learning_rate": 0.002, "weight_decay": 1.0}),
    ],
)
def test_held_out_rows_decide_how_long_a_small_table_is_trained(problem, numbers):
    rng = np.random.default_rng(0)
    (rows, y), (more, _) = problem(80, rng), problem(100, rng)
    default = DMLPseudoLabelClassifier(max_rounds=0, random_state=0)
    model = clone(default).fit(rows, y)
    with_unlabeled = clone(default).set_params(max_rounds=1).fit(rows, y, more)
    for name, value in numbers.items():
        assert getattr(model, f"{name}_") == getattr(with_unlabeled, f"{name}_") == value
    # It is but a choice: the rest is as if these numbers had been given.
    given = clone(default).set_params(**numbers).fit(rows, y)
    np.testing.assert_array_equal(model.transform(more), given.transform(more))


def test_held_out_rows_are_not_looked_at(monkeypatch):
    tried = {}

    def choose(plans, y, fit_and_classify, generator):
        tried["plan"] = plans[0]
        tried["logits"] = fit_and_classify(plans[0], np.where(np.arange(60) < 30, y, -1), np.arange(30, 60))
        return plans[0]

    with monkeypatch.context() as patch:
        patch.setattr(_classifier, "choose_plan", choose)
        DMLPseudoLabelClassifier(max_rounds=0, random_state=0).fit(X, Y)
    alone = classifier(max_rounds=0, n_steps=tried["plan"].n_steps, metric_weight=0.0).fit(X[:30], Y[:30])
    np.testing.assert_allclose(_rounds.softmax(tried["logits"]), alone.predict_proba(X[30:]), rtol=1e-4)


@pytest.mark.parametrize(("many", "n_networks"), [(60, 2), (61, 1)])
def test_one_more_network_learns_from_the_given_labels_alone(many, n_networks, monkeypatch):
    # 20 rows without a label in X and 40 apart: they count wherever they are
    monkeypatch.setattr(_defaults, "_MANY_UNLABELED", many)
    everything = (X, Y_PARTLY, U)
    with_supervised = classifier(n_steps=20).fit(*everything)
    parts = [
        classifier(n_steps=20, n_networks=n_networks).fit(*everything),
        classifier(n_steps=20).fit(X[Y_PARTLY >= 0], Y[Y_PARTLY >= 0]),
    ]
    members = [member for part in parts for member in part.network_.members]
    assert len(with_supervised.network_.members) == len(members) == n_networks + 1
    rows = torch.from_numpy(U)
    for own, same in zip(with_supervised.network_.members, members, strict=True):
        for seen, expected in zip(own(rows), same(rows), strict=True):
            torch.testing.assert_close(seen, expected, rtol=0, atol=0)
    mean = torch.stack([member(rows)[1] for member in members]).mean(dim=0)
    np.testing.assert_allclose(with_supervised.predict_proba(U), mean.softmax(dim=1).detach())
    # Pseudo-labels are the others' alone.
    np.testing.assert_array_equal(with_supervised.transduction_, parts[0].transduction_)


def test_two_networks():
    model = classifier(n_networks=2, n_steps=100).fit(X, Y_PARTLY, U)
    assert model.score(U, U_TRUTH) == 1
    assert len(model.network_.members) == 2
    (one, other), two = (member(torch.from_numpy(U))[1] for member in model.network_.members), model.network_
    torch.testing.assert_close(two(torch.from_numpy(U))[1], (one + other) / 2)
    assert model.transform(U).shape == (len(U), model._n_features_out) == (len(U), 2 * 128)
    assert len(model.get_feature_names_out()) == 256
    again = classifier(n_networks=2, n_steps=100).fit(X, Y_PARTLY, U)
    np.testing.assert_array_equal(again.predict_proba(U), model.predict_proba(U))
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict_proba(U), model.predict_proba(U))


BACKBONES = {
    "module": small_backbone(),
    "factory": lambda input_shape: nn.Linear(*input_shape, 6),
    "class": type("Backbone", (nn.Linear,), {"__init__": lambda self, shape: nn.Linear.__init__(self, *shape, 6)}),
    "float64": type("Precise", (nn.Linear,), {"input_dtype": torch.float64})(N_FEATURES, 6).double(),
    "lazy": nn.Sequential(nn.LazyLinear(6)),
    "frozen": small_backbone().requires_grad_(False),
    "without parameters": nn.Identity(),
}


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_backbones(backbone):
    model = classifier(backbone=backbone).fit(X, Y_PARTLY, U)
    assert model.transform(X).shape == (60, 4 if isinstance(backbone, nn.Identity) else 6)
    assert np.isfinite(model.predict_proba(X)).all()
    for parameter in model.network_.parameters():
        assert parameter.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_backbone_in_half_precision_has_a_head_in_full(dtype):
    backbone = type("Half", (nn.Linear,), {"input_dtype": dtype})(N_FEATURES, 6).to(dtype)
    model = classifier(backbone=backbone).fit(X, Y_PARTLY, U)
    assert model.transform(X).dtype == np.float32
    assert model.network_.head.weight.dtype == torch.float32
    assert np.isfinite(model.predict_proba(X)).all()


def test_gradients_are_not_kept(fitted):
    assert all(parameter.grad is None for parameter in fitted.network_.parameters())


class InfiniteInUse(nn.Linear):
    def forward(self, batch):
        features = super().forward(batch)
        return features / 0 if torch.is_inference_mode_enabled() else features


def test_a_network_that_is_not_finite_outside_of_training():
    with pytest.raises(ValueError, match="output is not finite on rows it was trained on"):
        classifier(backbone=InfiniteInUse(N_FEATURES, 6), max_rounds=0).fit(X, Y_PARTLY, U)


@pytest.mark.parametrize("frozen", [["0"], ["0", "1", "3"]], ids=["first layer", "all layers"])
def test_frozen_parameters_stay(frozen):
    backbone = small_backbone()
    for name in frozen:
        backbone.get_submodule(name).requires_grad_(False)
    trained = classifier(backbone=backbone).fit(X, Y_PARTLY, U).network_.backbone
    for name, parameter in trained.named_parameters():
        equal = torch.equal(parameter, backbone.get_parameter(name))
        assert equal == (name.split(".")[0] in frozen), name


@pytest.mark.parametrize("batch_size", [4, 5])
def test_small_batches_with_batch_norm(batch_size):
    model = classifier(backbone=small_backbone(), batch_size=batch_size).fit(X, Y_PARTLY, U)
    assert np.isfinite(model.predict_proba(X)).all()


def test_a_network_of_torchvision():
    from torchvision.models import resnet18

    tiny = np.repeat(IMAGES[:12].repeat(2, axis=2).repeat(2, axis=3), 3, axis=1)
    model = classifier(backbone=torchvision_backbone(resnet18), n_steps=2, max_rounds=1, batch_size=8)
    model.fit(tiny, IMAGE_Y[:12], tiny[:4])
    assert model.transform(tiny[:2]).shape == (2, 512)
    assert np.isfinite(model.predict_proba(tiny)).all()


def plain_contrast(embeddings, labels):
    same = labels[:, None] == labels
    return torch.where(same, 1 - embeddings @ embeddings.T, embeddings @ embeddings.T).mean()


@pytest.mark.parametrize("metric_loss", [SupConLoss(), plain_contrast], ids=["a foreign module", "a function"])
def test_metric_losses(metric_loss):
    model = classifier(metric_loss=metric_loss, n_steps=40).fit(X, Y_PARTLY, U)
    assert model.score(X, Y) > 0.9
    assert not np.array_equal(model.transform(X), classifier(n_steps=40).fit(X, Y_PARTLY, U).transform(X))


def no_change(batch, generator):
    return batch.clone()


def nearest_labelled_row(embeddings, y, proba):
    given = np.flatnonzero(y >= 0)
    return y[given][(embeddings @ embeddings[given].T).argmax(axis=1)], np.full(len(y), 0.5)


@pytest.mark.parametrize(
    "selector", [nearest_labelled_row, ConfidenceSelector(), NearestNeighborSelector(n_neighbors=3)], ids=name_of
)
def test_selectors(selector):
    model = classifier(selector=selector, n_steps=100).fit(X, Y_PARTLY, U)
    assert (model.transduction_ == np.concatenate([Y, U_TRUTH])).mean() > 0.95


@pytest.mark.parametrize("max_rounds", [0, 2])
def test_a_telling_column_does_not_drown_among_others(max_rounds, monkeypatch):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat([0, 1, 2], [200, 120, 80]))
    rows = rng.normal(size=(400, 20))
    rows[:, 7] = 6 * y + rng.normal(size=400)

    def accuracy():
        model = classifier(max_rounds=max_rounds, n_steps=60, random_state=0)
        return model.fit(rows[:60], y[:60], rows[60:300]).score(rows[300:], y[300:])

    with_weights = accuracy()
    monkeypatch.setattr(_mlp, "relevance", lambda batches, n_classes: torch.ones(20))
    assert with_weights > 0.9
    assert with_weights > accuracy() + 0.1


@pytest.mark.parametrize(
    ("trust", "selector"), [(0.0, ConfidenceSelector()), (1.0, GraphPropagationSelector())], ids=["none", "all"]
)
def test_neighbors_have_as_much_of_a_say_as_they_deserve(trust, selector, monkeypatch):
    def consult(*args):
        return consult_neighbors(*args)._replace(trust=deserved)

    rng = np.random.default_rng(0)
    rows, hidden = (part + 3 * rng.normal(size=part.shape) for part in (X, U))
    monkeypatch.setattr(_rounds, "consult_neighbors", consult)
    deserved = trust
    by_default = classifier(n_steps=20).fit(rows, Y_PARTLY, hidden)
    deserved = 0.5  # a selector of the caller's is left as it is
    assert_same_model(by_default, classifier(n_steps=20, selector=selector).fit(rows, Y_PARTLY, hidden), X)
    between = classifier(n_steps=20).fit(rows, Y_PARTLY, hidden)
    assert not np.array_equal(by_default.predict_proba(X), between.predict_proba(X))


def test_an_augmentation_gets_batches_and_a_generator():
    seen = []

    def noise(batch, generator):
        seen.append((batch.shape[1:], batch.dtype, generator))
        return batch + 0.1 * torch.randn(batch.shape, generator=generator, dtype=batch.dtype)

    assert_same_model(
        classifier(augmentation=noise).fit(X, Y_PARTLY, U), classifier(augmentation=noise).fit(X, Y_PARTLY, U), X
    )
    assert {shape for shape, _, _ in seen} == {(N_FEATURES,)}
    assert all(dtype.is_floating_point and isinstance(generator, torch.Generator) for _, dtype, generator in seen)


@pytest.mark.parametrize(
    ("augmentation", "mirror"),
    [
        (None, True),
        (WeakImageAugmentation(), True),
        (WeakImageAugmentation(flip=np.True_), True),
        (WeakImageAugmentation(flip=False), False),
        (no_change, False),
    ],
)
def test_images_are_predicted_from_both_sides_where_the_augmentation_mirrors_them(augmentation, mirror):
    model = classifier(backbone=tiny_image_backbone, augmentation=augmentation).fit(IMAGES, IMAGE_Y)
    alike = np.allclose(model.predict_proba(IMAGES), model.predict_proba(IMAGES[..., ::-1].copy()), atol=1e-5)
    assert alike == mirror


@pytest.mark.parametrize("verbose", [0, 1, False, True])
def test_verbose_prints_one_line_a_round(verbose, capsys):
    classifier(verbose=verbose).fit(X, Y_PARTLY, U)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (3 if verbose else 0)
    for i, line in enumerate(lines):
        assert f"round {i} of 2" in line
        assert "of 60 rows" in line


# ------------------------------------------------------------------------------------------------ scikit-learn's tools


def test_feature_names_out_and_pandas_output(fitted):
    names = fitted.get_feature_names_out()
    assert names.shape == (fitted.transform(X).shape[1],)
    assert names[0] == "dmlpseudolabelclassifier0"
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(60) + 100)
    embedded = classifier().set_output(transform="pandas").fit(frame, Y_PARTLY).transform(frame)
    assert isinstance(embedded, pd.DataFrame)
    assert embedded.index.equals(frame.index)
    assert embedded.columns.tolist() == names.tolist()


def test_fit_transform_and_a_step_in_a_pipeline():
    embedded = classifier().fit_transform(X, Y_PARTLY)
    np.testing.assert_array_equal(embedded, classifier().fit(X, Y_PARTLY).transform(X))
    clusters = make_pipeline(classifier(n_steps=40), KMeans(3, n_init=3, random_state=0)).fit(X, Y_PARTLY).predict(X)
    assert len(set(zip(clusters, Y, strict=True))) <= 5


def test_clone_and_pickle(fitted):
    again = clone(fitted)
    assert not hasattr(again, "network_")
    assert_same_model(again.fit(X, Y_PARTLY, U), fitted, X)
    loaded = pickle.loads(pickle.dumps(fitted))
    assert_same_model(loaded, fitted, X)
    np.testing.assert_array_equal(loaded.transform(U), fitted.transform(U))
    assert loaded.history_[1].round == 1
    assert_same_model(loaded.fit(X, Y_PARTLY, U), fitted, X)


def test_clone_copies_parts():
    model = classifier(backbone=small_backbone(), selector=NearestNeighborSelector(n_clusters=3))
    again = clone(model)
    assert again.backbone is not model.backbone
    assert again.get_params()["selector__n_clusters"] == 3


GRID = {"n_neighbors": [2, 5], "margin": [0.1, 0.4]}


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search_with_unlabelled_rows_in_X(n_jobs):
    folds = LabeledStratifiedKFold(2)
    search = GridSearchCV(classifier(n_steps=2, max_rounds=1), GRID, cv=folds, n_jobs=n_jobs, error_score="raise")
    search.fit(np.concatenate([X, U]), np.concatenate([Y, np.full(40, -1)]))
    assert set(search.best_params_) == set(GRID)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(X).shape == (60,)


def test_grid_search_over_a_parameter_of_a_part():
    model, grid = classifier(n_steps=2, selector=NearestNeighborSelector()), {"selector__n_clusters": [1, 5]}
    search = GridSearchCV(model, grid, cv=LabeledStratifiedKFold(2))
    assert search.fit(X, Y_PARTLY).best_estimator_.selector.n_clusters in (1, 5)


@pytest.mark.parametrize("scaled", [False, True])
def test_grid_search_with_routed_unlabelled_rows(scaled):
    """Unlabelled rows reach every fit whole, through the scaler in front."""
    seen = []

    class Spy(ConfidenceSelector):
        def select(self, embeddings, y, proba):
            seen.append(np.count_nonzero(y < 0))
            return super().select(embeddings, y, proba)

    with sklearn.config_context(enable_metadata_routing=True):
        model = classifier(n_steps=2, max_rounds=1, selector=Spy()).set_fit_request(X_unlabeled=True)
        prefix = ""
        if scaled:
            model = make_pipeline(StandardScaler(), model, transform_input=["X_unlabeled"])
            prefix = "dmlpseudolabelclassifier__"
        cv = StratifiedKFold(2)
        grid = {prefix + "n_neighbors": [2, 5], prefix + "margin": [0.1, 0.4]}
        search = GridSearchCV(model, grid, cv=cv, error_score="raise").fit(X, Y, X_unlabeled=U)
    assert seen == [40] * 9
    assert search.predict(X).shape == (60,)


def test_a_pipeline_scales_the_unlabelled_rows_too():
    with sklearn.config_context(enable_metadata_routing=True):
        steps = (StandardScaler(), classifier().set_fit_request(X_unlabeled=True))
        model = make_pipeline(*steps, transform_input=["X_unlabeled"]).fit(X, Y_PARTLY, X_unlabeled=U)
    scaler = StandardScaler().fit(X)
    by_hand = classifier().fit(scaler.transform(X), Y_PARTLY, scaler.transform(U))
    np.testing.assert_array_equal(model[-1].transduction_, by_hand.transduction_)
    np.testing.assert_array_equal(model.predict_proba(X), by_hand.predict_proba(scaler.transform(X)))


def test_cross_validation_scores_what_can_be_learned():
    assert cross_val_score(classifier(n_steps=100), X, Y, cv=2).min() > 0.9


# The checks fit hundreds of times, and hardly any of them asks how well.
@parametrize_with_checks([DMLPseudoLabelClassifier(device="cpu", n_steps=100)])
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("check", [check_classifiers_train, check_fit_idempotent], ids=name_of)
def test_scikit_learn_checks_with_the_defaults(check):
    """Those that ask most of training: how well it goes, and that it goes the same way again."""
    check("DMLPseudoLabelClassifier", DMLPseudoLabelClassifier(device="cpu"))


class Peculiar(nn.Module):
    """A layer behind one that holds something which is no usual weight."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first = nn.Linear(N_FEATURES, 6).to(torch.float64 if kind == "float64 layer" else torch.float32)
        shift = {
            "mask": torch.tensor([0.0] * 5 + [-torch.inf]),
            "view": torch.ones(()).expand(6),
            "complex": torch.ones(6, dtype=torch.complex64) * 1j,
        }
        self.register_buffer("shift", shift.get(kind, torch.zeros(6)))
        self.last = nn.Linear(6, 5)

    def forward(self, batch):
        hidden = self.first(batch.to(self.first.weight.dtype)).to(batch.dtype)
        if self.kind == "mask":
            return self.last((hidden + self.shift).softmax(dim=1))
        if self.kind == "complex":
            return self.last((hidden * self.shift).imag)
        return self.last(hidden + self.shift)


@pytest.mark.parametrize("kind", ["mask", "view", "complex", "float64 layer"])
@pytest.mark.filterwarnings("error:Casting complex")
def test_backbones_with_unusual_tensors_stay_what_they_are(kind):
    backbone = Peculiar(kind)
    model = classifier(backbone=backbone).fit(X, Y_PARTLY, U)
    assert np.isfinite(model.predict_proba(X)).all()
    assert model.network_.backbone.first.weight.dtype == backbone.first.weight.dtype
    assert torch.equal(model.network_.backbone.shift, backbone.shift)


@pytest.mark.parametrize("name", ["n_steps", "batch_size", "n_neighbors", "max_rounds"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_parameters_may_be_numbers_of_numpy(name, dtype):
    # The steps of all rounds together are more than uint8 holds.
    value = {"n_steps": 200, "batch_size": 200, "n_neighbors": 5, "max_rounds": 2}[name]
    expected = classifier(**{name: value}).fit(X, Y_PARTLY, U).predict_proba(X)
    np.testing.assert_array_equal(classifier(**{name: dtype(value)}).fit(X, Y_PARTLY, U).predict_proba(X), expected)
