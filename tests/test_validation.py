"""What a user may get wrong: an error names the argument, what it must be and what it got. And hard numbers."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.exceptions import NotFittedError
from torch import nn

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl._validation import check_pseudo_labels, check_unlabeled
from skdmlpl.augmentations import FeatureCorruption
from skdmlpl.losses import TripletMarginLoss
from skdmlpl.selectors import ConfidenceSelector, GraphPropagationSelector

NAME = "DMLPseudoLabelClassifier"


def classifier(**params):
    return DMLPseudoLabelClassifier(**({"n_steps": 5, "max_rounds": 2, "random_state": 0, "device": "cpu"} | params))


def blobs(n=30, seed=0):
    y = np.arange(n) % 3
    return np.random.default_rng(seed).normal(size=(n, 4)) + 4 * np.eye(3, 4)[y], y


X, Y = blobs()
U, _ = blobs(10, seed=1)
FRAME, FRAME_U = pd.DataFrame(X, columns=list("abcd")), pd.DataFrame(U, columns=list("abcd"))
IMAGES = np.random.default_rng(0).random((30, 1, 6, 6), dtype=np.float32)


def with_value(array, value):
    array = array.copy()
    array[(3,) * array.ndim if array.ndim == 2 else (3, 0, 0, 0)] = value
    return array


def expect(error, words, function, *args):
    with pytest.raises(error) as info:
        function(*args)
    for word in words:
        assert word in str(info.value), f"{word!r} is not in {info.value}"


# -------------------------------------------------------------------------------------------------------- data


BAD_DATA = {
    "NaN in X": (with_value(X, np.nan), Y, U, ValueError, ["Input X contains NaN"]),
    "infinity in X": (with_value(X, np.inf), Y, U, ValueError, ["Input X contains infinity"]),
    "NaN in images": (with_value(IMAGES, np.nan), Y, None, ValueError, ["Input X contains NaN"]),
    "1-D X": (X[:, 0], Y, U, ValueError, ["Expected 2D array, got 1D array"]),
    "3-D X": (X[:, :, None], Y, U, ValueError, ["X must be a table", "3 dimensions", "(30, 4, 1)", "X[:, None] has"]),
    "no rows": (X[:0], Y[:0], U, ValueError, ["0 sample", "(0, 4)"]),
    "no columns": (X[:, :0], Y, None, ValueError, ["0 feature"]),
    "images of no height": (IMAGES[:, :, :0], Y, None, ValueError, ["X must not have an empty axis", "(30, 1, 0, 6)"]),
    "complex X": (X + 1j, Y, U, ValueError, ["Complex data not supported"]),
    "string X": (X.astype(str), Y, U, ValueError, ["numeric", "strings", "OneHotEncoder"]),
    "object X": (np.full((30, 2), object()), Y, None, TypeError, ["real number", "object"]),
    "date X": (np.full((30, 2), "2020", "M8[D]"), Y, None, ValueError, ["X must hold real numbers", "datetime64"]),
    "a column of text": (FRAME.assign(b="x"), Y, U, ValueError, ["X must hold real numbers", "OneHotEncoder", "'x'"]),
    "a column of dates": (
        FRAME.assign(b=np.datetime64("2020", "ns")), Y, U, TypeError, ["X must hold real numbers", "OneHotEncoder"],
    ),
    "a column of categories": (
        FRAME.assign(b=pd.Categorical(["x"] * 30)), Y, U, ValueError, ["X must hold real numbers", "OneHotEncoder"],
    ),
    "sparse X": (sp.csr_array(X), Y, U, TypeError, ["Sparse", "X", "dense"]),
    "sparse X_unlabeled": (X, Y, sp.csr_array(U), TypeError, ["Sparse", "X_unlabeled", "dense"]),
    "sparse matrix X_unlabeled": (X, Y, sp.csr_matrix(U), TypeError, ["Sparse", "X_unlabeled", "dense"]),
    "NaN in X_unlabeled": (X, Y, with_value(U, np.nan), ValueError, ["X_unlabeled contains NaN", "Fill in"]),
    "infinity in X_unlabeled": (X, Y, with_value(U, -np.inf), ValueError, ["Input X_unlabeled contains infinity"]),
    "other width": (
        X, Y, U[:, :3], ValueError, ["X_unlabeled must", "same shape as X", "(4,)", "Got (3,)", "A pipeline"],
    ),
    "other image size": (IMAGES, Y, IMAGES[..., 1:], ValueError, ["X_unlabeled must", "(1, 6, 6)", "Got (1, 6, 5)"]),
    "images and a table": (IMAGES, Y, X, ValueError, ["X_unlabeled must", "(1, 6, 6)", "Got (4,)"]),
    "a table and images": (X, Y, IMAGES, ValueError, ["X_unlabeled must", "(4,)", "Got (1, 6, 6)"]),
    "1-D X_unlabeled": (X, Y, U[0], ValueError, ["X_unlabeled must be an array like X", "1D array"]),
    "3-D X_unlabeled": (X, Y, U[:, :, None], ValueError, ["X_unlabeled must be a table", "3 dimensions"]),
    "complex X_unlabeled": (X, Y, U + 1j, ValueError, ["X_unlabeled", "Complex data not supported"]),
    "string X_unlabeled": (X, Y, U.astype(str), ValueError, ["X_unlabeled must hold", "numeric", "stack_unlabeled"]),
    "a column of text in X_unlabeled": (FRAME, Y, FRAME_U.assign(b="x"), ValueError, ["X_unlabeled must hold", "'x'"]),
    "ragged X_unlabeled": (X, Y, [[1, 2, 3, 4], [1, 2]], ValueError, ["X_unlabeled must have rows of one length"]),
    "images of two sizes": ([*IMAGES[:29], IMAGES[0, :, 1:]], Y, None, ValueError, ["X must", "images of one size"]),
    "a tensor with a gradient": (torch.ones(30, 4, requires_grad=True), Y, U, TypeError, ["X.detach().cpu().float()"]),
    "a tensor in bfloat16": (X, Y, torch.ones(5, 4).bfloat16(), TypeError, ["X_unlabeled.detach().cpu().float()"]),
    "scalar X_unlabeled": (X, Y, 3, ValueError, ["X_unlabeled", "scalar array"]),
    "a generator": (X, Y, (row for row in U), ValueError, ["X_unlabeled"]),
    "other names": (FRAME, Y, FRAME_U.rename(columns={"b": "z"}), ValueError, ["X_unlabeled must", "'b'", "'z'"]),
    "names in another order": (FRAME, Y, FRAME_U[list("abdc")], ValueError, ["same order", "['a', 'b', 'd', 'c']"]),
    "a name too few": (FRAME, Y, FRAME_U[list("abc")], ValueError, ["X_unlabeled must", "['a', 'b', 'c']"]),
    "colours last": (np.ones((30, 8, 6, 3)), Y, None, ValueError, ["(30, 8, 6, 3)", "X.transpose(0, 3, 1, 2)"]),
    "colours and opacity last": (np.ones((30, 6, 6, 4)), Y, None, ValueError, ["channels", "(30, 6, 6, 4)"]),
    "grey last": (np.ones((30, 6, 6, 1)), Y, None, ValueError, ["channels, height, width", "(30, 6, 6, 1)"]),
    "unlabelled colours last": (
        np.ones((30, 3, 8, 8)), Y, np.ones((5, 8, 8, 3)), ValueError, ["X_unlabeled.transpose(0, 3, 1, 2)"],
    ),
    "scaled and unscaled": (
        (255 * IMAGES).astype(np.uint8), Y, IMAGES, ValueError, ["X_unlabeled must", "uint8", "Got float32"],
    ),
    "unscaled and scaled": (
        IMAGES, Y, (255 * IMAGES).astype(np.uint8), ValueError, ["X_unlabeled must", "Got uint8", "X of dtype float32"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "y", "unlabeled", "error", "words"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data(rows, y, unlabeled, error, words):
    expect(error, words, classifier().fit, rows, y, unlabeled)


def test_names_on_one_side_only_are_no_error():
    expected = classifier().fit(X, Y, U).predict_proba(X)
    np.testing.assert_array_equal(classifier().fit(FRAME, Y, U).predict_proba(FRAME), expected)
    np.testing.assert_array_equal(classifier().fit(X, Y, FRAME_U).predict_proba(X), expected)


def test_no_copy_is_made_of_arrays():
    model = classifier()
    model.fit(X, Y)
    for array in (U, U.astype(np.float32), U[::2], np.asfortranarray(U)):
        assert np.shares_memory(check_unlabeled(model, array, X), array)


# -------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("backbone", "resnet", ["callable", "'resnet'"]),
        ("metric_loss", 0.5, ["callable", "0.5"]),
        ("selector", "graph", ["'select'", "callable", "'graph'"]),
        ("augmentation", [1], ["callable", "[1]"]),
        ("n_neighbors", 0, ["int in the range [1, inf)", "0"]),
        ("n_neighbors", 2.5, ["int", "2.5"]),
        ("n_neighbors", "5", ["int", "'5'"]),
        ("margin", -0.1, ["float in the range [0", "-0.1"]),
        ("margin", np.nan, ["float", "nan"]),
        ("margin", None, ["float", "None"]),
        ("max_rounds", -1, ["int in the range [0, inf)", "-1"]),
        ("max_rounds", 1.0, ["int", "1.0"]),
        ("n_steps", 0, ["int in the range [1, inf)", "None", "0"]),
        ("n_steps", "many", ["int", "'many'"]),
        ("batch_size", 1, ["int in the range [", "1"]),
        ("batch_size", None, ["int", "None"]),
        ("learning_rate", 0.0, ["float in the range (0", "0.0"]),
        ("learning_rate", np.inf, ["float", "inf"]),
        ("weight_decay", -1e-9, ["float in the range [0", "-1e-09"]),
        ("metric_weight", -1, ["float in the range [0", "None", "-1"]),
        ("metric_weight", "0.3", ["float", "'0.3'"]),
        ("device", 0, ["'str'", "torch.device", "0"]),
        ("random_state", -1, ["int in the range [0", "-1"]),
        ("random_state", "seed", ["RandomState", "'seed'"]),
        ("verbose", "loud", ["int in the range [0", "'loud'"]),
    ],
)
def test_bad_parameters(name, value, words):
    words = [f"The '{name}' parameter of {NAME} must be", *words, "instead"]
    expect(ValueError, words, classifier(**{name: value}).fit, X, Y)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "", "meta"])
def test_bad_devices(device):
    words = [f"The 'device' parameter of {NAME} must be a device torch can use here", f"Got {device!r} instead"]
    expect(ValueError, words, classifier(device=device).fit, X, Y)


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), None], ids=repr)
def test_good_devices(device):
    assert classifier(device=device).fit(X, Y).predict(X).shape == (30,)


# ------------------------------------------------------------------------------------------------------- parts


class OfIntegers(nn.Linear):
    input_dtype = torch.int64


class ToImages(nn.Linear):
    def forward(self, batch):
        return super().forward(batch)[:, :, None, None]


BACKBONE_MUST = f"The 'backbone' parameter of {NAME} must"
LOSS_MUST = f"The 'metric_loss' parameter of {NAME} must"
SELECTOR_MUST = f"The 'selector' parameter of {NAME} must"

BAD_PARTS = {
    "backbone of another width": (
        {"backbone": nn.Linear(5, 3)}, ValueError, [BACKBONE_MUST, "(4,)", "(batch, d)", "RuntimeError"],
    ),
    "backbone for images": ({"backbone": nn.Conv2d(4, 3, 1)}, ValueError, [BACKBONE_MUST, "(4,)", "(batch, d)"]),
    "backbone to 4-D": ({"backbone": ToImages(4, 3)}, ValueError, [BACKBONE_MUST, "(batch, d)", "(2, 3, 1, 1)"]),
    "backbone to a tuple": ({"backbone": nn.LSTM(4, 3)}, TypeError, [BACKBONE_MUST, "(batch, d)", "Got tuple"]),
    "backbone in float64": ({"backbone": nn.Linear(4, 3).double()}, ValueError, [BACKBONE_MUST, "its input_dtype"]),
    "backbone for integers": ({"backbone": OfIntegers(4, 3)}, TypeError, [BACKBONE_MUST, "Got torch.int64"]),
    "factory of no module": ({"backbone": lambda shape: 3}, TypeError, [BACKBONE_MUST, "torch.nn.Module", "Got int"]),
    "loss per row": ({"metric_loss": lambda e, y: e[:, 0]}, TypeError, [LOSS_MUST, "scalar", "Got a tensor of shape"]),
    "loss of one entry": ({"metric_loss": lambda e, y: e.sum()[None]}, TypeError, [LOSS_MUST, "scalar", "shape (1,)"]),
    "loss float": ({"metric_loss": lambda e, y: 0.5}, TypeError, [LOSS_MUST, "scalar", "Got float"]),
    "loss NaN": (
        {"metric_loss": lambda e, y: e.sum() * np.nan}, ValueError,
        ["'metric_loss'", "nan at step 1 of 5", "a lower 'learning_rate'"],
    ),
    "loss class": (
        {"metric_loss": TripletMarginLoss}, TypeError, ["'metric_loss' parameter", "TripletMarginLoss", "instance"],
    ),
    "loss of three arguments": (
        {"metric_loss": nn.TripletMarginLoss()}, TypeError, ["'metric_loss' parameter", "take a tensor", "negative"],
    ),
    "augmentation class": (
        {"augmentation": FeatureCorruption}, TypeError, ["'augmentation' parameter", "FeatureCorruption", "instance"],
    ),
    "augmentation of one argument": (
        {"augmentation": lambda batch: batch}, TypeError, ["'augmentation' parameter", "must take", "Generator"],
    ),
    "selector class": ({"selector": ConfidenceSelector}, TypeError, [SELECTOR_MUST, "ConfidenceSelector", "instance"]),
    "selector None": ({"selector": lambda *a: None}, TypeError, [SELECTOR_MUST, "two arrays", "Got NoneType"]),
    "selector with bad numbers": (
        {"selector": GraphPropagationSelector(alpha=1.5)}, ValueError, ["'alpha'", "GraphPropagationSelector", "1.5"],
    ),
    "augmentation to another width": (
        {"augmentation": lambda batch, g: batch[:, :3]}, TypeError, ["'augmentation' parameter", "shape of the batch"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("params", "error", "words"), BAD_PARTS.values(), ids=BAD_PARTS)
def test_bad_parts(params, error, words):
    expect(error, words, classifier(**params).fit, X, Y, U)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.ones((2, 6, 8, 3)), ["channels seem to come last", "X.transpose(0, 3, 1, 2)"]),
        (np.ones((3, 6, 8)), ["images (n_samples, channels, height, width)", "(3, 6, 8)"]),
        (np.ones((2, 144)), ["same shape as the X given to fit, (3, 6, 8)", "(144,)"]),
        (np.ones((2, 1, 6, 8)), ["same shape as the X given to fit, (3, 6, 8)", "(1, 6, 8)"]),
        (np.full((2, 3, 6, 8), np.nan), ["X contains NaN"]),
    ],
    ids=["channels last", "one image", "flat", "grey", "NaN"],
)
def test_other_images_than_fit_was_given(rows, words):
    model = classifier(n_steps=1, max_rounds=0).fit(np.ones((6, 3, 6, 8)), [0, 1] * 3)
    expect(ValueError, words, model.predict, rows)


@pytest.mark.parametrize(
    ("rows", "unlabeled", "words"),
    [
        (X, 100 * U + 1000, ["column 0 has mean 1", "4 of 4 columns", "transform_input", "stack_unlabeled"]),
        (X, 100 * U, ["standard deviation", "4 of 4"]),
        (100 * X, U, ["4 of 4"]),
        (X, U * [1, 1, 100, 100], ["column 2", "2 of 4"]),
        (IMAGES, 255 * IMAGES[:12], ["1 of 1"]),
    ],
    ids=["another place", "wider", "narrower", "half of the columns", "images"],
)
def test_rows_on_another_scale_are_warned_of(rows, unlabeled, words):
    with pytest.warns(UserWarning, match="X_unlabeled seems to be on another scale than X") as record:
        classifier(n_steps=1).fit(rows, Y, unlabeled)
    for word in words:
        assert word in str(record[0].message)


@pytest.mark.parametrize(
    ("rows", "unlabeled"),
    [
        (X, U + 2),
        (X, X[Y == 2]),  # one class alone
        (X, U * [1, 1, 1, 1000]),
        (X, 1000 * U[:9]),  # too few to tell
        (X * [1, 1, 0, 0], np.tile(U * [1, 1, 0, 0] + [0, 0, 7, 7], (2, 1))),  # what does not vary has no scale
        (np.arange(30)[:, None] % 2 * np.ones(4), np.tile(U > 0, (2, 1))),
    ],
    ids=["shifted", "one class", "one column", "few", "constant", "binary"],
)
def test_rows_on_the_same_scale_are_not_warned_of(rows, unlabeled, recwarn):
    check_unlabeled(None, unlabeled, rows)
    assert not recwarn


def test_scoring_unlabelled_rows_is_warned_of():
    model = classifier().fit(X, Y)
    with pytest.warns(UserWarning, match=r"y marks 10 of 30 rows as unlabelled.*LabeledStratifiedKFold"):
        assert model.score(X, np.where(Y == 0, -1, Y)) <= 2 / 3
    pairs = np.where(Y == 0, -1, 1)
    model = classifier().fit(X, pairs)  # here -1 is a class
    assert model.score(X, pairs) == np.mean(model.predict(X) == pairs)
    assert model.score(X, pairs, sample_weight=Y == 0) == np.mean(model.predict(X[Y == 0]) == -1)


def test_a_loss_that_becomes_nan_stops_the_fit_at_once():
    calls = []

    def loss(embeddings, labels):
        calls.append(1)
        return embeddings.sum() * (np.nan if len(calls) == 3 else 1.0)

    words = ["'metric_loss'", "nan at step 3 of 5", "a lower 'learning_rate' (it is 0.002) or 'weight_decay' (it is "]
    expect(ValueError, words, classifier(metric_loss=loss).fit, X, Y, U)
    assert len(calls) == 3


def test_a_learning_rate_that_is_far_too_large():
    expect(ValueError, ["loss became", "'learning_rate'", "1e+30"], classifier(learning_rate=1e30).fit, X, Y, U)


ONES = np.ones(6)
ZEROS = np.zeros(6, dtype=int)
BAD_PSEUDO_LABELS = {
    "four arrays": ((ZEROS, ONES, None, ONES), TypeError, ["two arrays", "Got tuple"]),
    "probabilities of one class": (
        (ZEROS, ONES, ONES),
        ValueError,
        ["probabilities of shape (6,)"],
    ),
    "whole numbers as probabilities": ((ZEROS, ONES, np.eye(6, 3, dtype=int)), TypeError, ["of dtype int64"]),
    "a row without probabilities": ((ZEROS, ONES, np.eye(6, 3)), ValueError, ["sums from 0.0 to 1.0"]),
    "negative probabilities": ((ZEROS, ONES, np.full((6, 3), [1.5, -0.5, 0])), ValueError, ["entries from -0.5"]),
    "missing probabilities": ((ZEROS, ONES, np.full((6, 3), np.nan)), ValueError, ["entries from nan"]),
    "one array": (ZEROS, TypeError, ["two arrays", "Got ndarray"]),
    "a number": (3, TypeError, ["two arrays", "Got int"]),
    "too few labels": ((ZEROS[:5], ONES), ValueError, ["There are 6 rows", "(5,) and (6,)"]),
    "too many weights": ((ZEROS, np.ones(7)), ValueError, ["There are 6 rows", "(6,) and (7,)"]),
    "weights a class": ((ZEROS, np.ones((6, 3))), ValueError, ["There are 6 rows", "(6, 3)"]),
    "float labels": ((ONES, ONES), TypeError, ["labels of dtype float64"]),
    "names": ((np.array(["a"] * 6), ONES), TypeError, ["class indices from 0 to 2", "labels of dtype <U1"]),
    "weights of str": ((ZEROS, np.array(["a"] * 6)), TypeError, ["weights of dtype <U1"]),
    "label too large": ((ZEROS + 3, ONES), ValueError, ["from 0 to 2", "labels from 3 to 3"]),
    "label too small": ((ZEROS - 2, ONES), ValueError, ["from 0 to 2", "labels from -2 to -2"]),
    "weight above 1": ((ZEROS, ONES * 1.01), ValueError, ["[0, 1]", "weights from 1.01 to 1.01"]),
    "negative weight": ((ZEROS, -ONES), ValueError, ["[0, 1]", "weights from -1.0 to -1.0"]),
    "NaN weight": ((ZEROS, ONES * np.nan), ValueError, ["[0, 1]", "weights from nan to nan"]),
}


@pytest.mark.parametrize(("result", "error", "words"), BAD_PSEUDO_LABELS.values(), ids=BAD_PSEUDO_LABELS)
def test_bad_pseudo_labels(result, error, words):
    expect(error, [SELECTOR_MUST + " return", *words], lambda: check_pseudo_labels(result, n_samples=6, n_classes=3))


@pytest.mark.parametrize("label_dtype", [np.int8, np.uint16, np.int64, list])
@pytest.mark.parametrize("weight_dtype", [bool, np.float32, np.float64, int])
def test_good_pseudo_labels(label_dtype, weight_dtype):
    labels = [0, 1, 2, 2, 0, 1]
    labels = labels if label_dtype is list else np.array(labels, dtype=label_dtype)
    checked = check_pseudo_labels((labels, ONES.astype(weight_dtype)), n_samples=6, n_classes=3)
    assert checked.labels.dtype == np.int64
    assert checked.weights.dtype == np.float64
    assert checked.labels.tolist() == [0, 1, 2, 2, 0, 1]


# -------------------------------------------------------------------------------------------------- prediction

METHODS = ["predict", "predict_proba", "transform", "get_feature_names_out"]


@pytest.mark.parametrize("method", METHODS)
def test_prediction_before_fit(method):
    expect(NotFittedError, [NAME, "not fitted"], getattr(classifier(), method), X)


@pytest.mark.parametrize("method", METHODS[:3])
def test_prediction_after_a_fit_that_failed(method):
    model = classifier()
    expect(ValueError, ["two classes"], model.fit, X, np.zeros(30))
    expect(NotFittedError, [NAME, "not fitted"], getattr(model, method), X)


@pytest.mark.parametrize("method", METHODS[:3])
def test_prediction_of_rows_of_another_kind(method):
    pixels = (255 * IMAGES).astype(np.uint8)
    table, frame, images, scaled = (classifier(n_steps=1).fit(rows, Y) for rows in (X, FRAME, IMAGES, pixels))
    for model, rows, words in [
        (table, X[:, :3], ["3 features", "expecting 4 features"]),
        (table, with_value(X, np.nan), ["NaN"]),
        (table, X[0], ["Expected 2D array"]),
        (table, IMAGES, ["1 features", "expecting 4 features"]),
        (frame, FRAME[list("abdc")], ["feature names", "same order"]),
        (images, IMAGES[..., 1:], ["X must have rows of the same shape as the X given to fit, (1, 6, 6)", "(1, 6, 5)"]),
        (images, np.ones((5, 1)), ["X must have rows", "(1, 6, 6)", "(1,)"]),
        (images, pixels, ["X must hold images of dtype uint8 where the X given to fit", "Got uint8"]),
        (scaled, pixels.astype(np.int64), ["X must hold images of dtype uint8 where the X given to fit", "Got int64"]),
    ]:
        expect(ValueError, words, getattr(model, method), rows)


# ---------------------------------------------------------------------------------------------------- numerics


def scaled_columns(array, factor):
    return array * np.where(np.arange(array.shape[1]) % 2, factor, 1.0)


def constant_column(array, value):
    return np.c_[array, np.full(len(array), value)]


HARD = {
    "columns times 1e30": lambda a: scaled_columns(a, 1e30),
    "columns times 1e-30": lambda a: scaled_columns(a, 1e-30),
    "columns times 1e300": lambda a: scaled_columns(a, 1e300),
    "columns times 1e-300": lambda a: scaled_columns(a, 1e-300),
    "all columns times 1e-45": lambda a: a * 1e-45,
    "a column of 0": lambda a: constant_column(a, 0),
    "a column of 1e30": lambda a: constant_column(a, 1e30),
    "a column of 0.1": lambda a: constant_column(a, 0.1),
    "only constant columns": np.ones_like,
    "a far outlier": lambda a: np.where(np.arange(len(a))[:, None] == 1, 1e12, a),
    "large offsets": lambda a: a + 1e9,
    "many columns": lambda a: np.tile(a, (1, 40)),
    "many columns times 1e30": lambda a: scaled_columns(np.tile(a, (1, 40)), 1e30),
}


@pytest.mark.parametrize("change", HARD.values(), ids=HARD)
def test_hard_numbers_give_finite_results(change):
    model = classifier().fit(change(X), Y, change(U))
    rows = change(X)
    for values in (
        model.predict_proba(rows),
        model.transform(rows),
        model.label_distributions_,
        model.unlabeled_prior_,
        *([record.classification_loss, record.metric_loss] for record in model.history_),
        *(record.pseudo_labels.weights for record in model.history_),
    ):
        assert np.isfinite(values).all()


def test_a_class_of_duplicates():
    rows, unlabeled = X.copy(), np.repeat(X[:2], 5, axis=0)
    rows[Y == 0] = rows[0]
    model = classifier(n_steps=40).fit(rows, Y, unlabeled)
    assert np.isfinite(model.predict_proba(rows)).all()
    assert model.predict(rows)[0] == 0
    assert (model.transduction_[30:35] == 0).all()


@pytest.mark.parametrize(("offset", "step"), [(1.7e9, 10.0), (0.0, 1e-30), (1e30, 1e28), (1.7e18, 1e5)], ids=str)
def test_small_differences_of_large_numbers_are_learned(offset, step):
    """In float32, neighbouring numbers near 1.7e9 are 128 apart: the rows would all look the same."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    column = offset + step * (y + 0.1 * rng.normal(size=90))
    rows = np.c_[column, rng.normal(size=90)]
    model = classifier(n_steps=60).fit(rows[:42], y[:42], rows[42:])
    assert model.score(rows[42:], y[42:]) > 0.9
