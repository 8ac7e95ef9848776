"""Splitters that leave unlabelled rows to the training folds, and the form of X and y that they take."""

import re
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import balanced_accuracy_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_predict,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.model_selection import (
    LabeledStratifiedKFold,
    LabeledStratifiedShuffleSplit,
    split_unlabeled,
    stack_unlabeled,
)

single_rows = pytest.mark.filterwarnings("ignore:.*single labelled row:UserWarning")


def long_tail(sizes, n_unlabeled, seed=0):
    """Classes of these sizes and unlabelled rows, in random order."""
    y = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), np.full(n_unlabeled, -1)])
    return np.random.default_rng(seed).permutation(y)


def splits(splitter, y):
    return list(splitter.split(np.zeros(len(y)), y))


def same_splits(one, other):
    return len(one) == len(other) and all(
        np.array_equal(a, b) for pair in zip(one, other, strict=True) for a, b in zip(*pair, strict=True)
    )


# ----------------------------------------------------------------------------------------------------------- splitters


Y = long_tail([40, 13, 7, 5, 4, 3, 2, 2, 2, 1], 60)
SPLITTERS = [
    LabeledStratifiedKFold(2),
    LabeledStratifiedKFold(5),
    LabeledStratifiedKFold(7, shuffle=True, random_state=0),
    LabeledStratifiedShuffleSplit(20, random_state=0),
    LabeledStratifiedShuffleSplit(20, test_size=0.6, random_state=0),
    LabeledStratifiedShuffleSplit(20, test_size=12, train_size=20, random_state=0),
]
splitters = pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)


@single_rows
@splitters
def test_every_split_trains_on_all_unlabelled_rows_and_every_class_and_tests_labelled_rows_only(splitter):
    found = splits(splitter, Y)
    assert len(found) == splitter.get_n_splits() == splitter.n_splits
    for train, test in found:
        assert len(np.intersect1d(train, test)) == 0
        assert set(np.flatnonzero(Y == -1)) <= set(train)
        assert set(Y[train]) == {-1, *range(10)}
        assert len(test) > 0
        assert (Y[test] >= 0).all()
        assert (np.diff(train) > 0).all()
        assert (np.diff(test) > 0).all()


@single_rows
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("n_splits", [2, 3, 5, 9])
def test_folds_test_each_row_once_and_are_of_equal_size(n_splits, shuffle):
    folds = splits(LabeledStratifiedKFold(n_splits, shuffle=shuffle, random_state=0 if shuffle else None), Y)
    tested = np.concatenate([test for _, test in folds])
    np.testing.assert_array_equal(np.sort(tested), np.flatnonzero((Y >= 0) & (Y != 9)))  # class 9 has a single row
    assert all(len(train) + len(test) == len(Y) for train, test in folds)
    counts = np.array([np.bincount(Y[test], minlength=10) for _, test in folds])  # (n_splits, n_classes)
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1


def test_many_rare_classes_are_spread_over_all_folds():
    y = long_tail([2] * 50, 10)
    assert [len(test) for _, test in splits(LabeledStratifiedKFold(5), y)] == [20] * 5
    assert all(len(np.unique(y[test])) == 20 for _, test in splits(LabeledStratifiedKFold(5), y))


@pytest.mark.parametrize("n_splits", [2, 5])
@pytest.mark.parametrize("seed", range(5))
def test_folds_of_the_labelled_rows_are_those_of_scikit_learn(n_splits, seed):
    y = long_tail([31, 12, 8, 5], 40, seed)
    labeled = np.flatnonzero(y >= 0)
    expected = [labeled[test] for _, test in StratifiedKFold(n_splits).split(labeled, y[labeled])]
    for (_, test), rows in zip(splits(LabeledStratifiedKFold(n_splits), y), expected, strict=True):
        np.testing.assert_array_equal(test, rows)


@single_rows
@pytest.mark.parametrize("splitter", SPLITTERS[:3], ids=repr)
def test_other_names_of_the_classes_change_no_fold(splitter):
    renamed = np.where(Y >= 0, 9 - Y, -1)
    assert same_splits(splits(splitter, Y), splits(splitter, renamed))


def test_shuffled_folds_differ_by_seed():
    by_seed = [splits(LabeledStratifiedKFold(3, shuffle=True, random_state=s), long_tail([20, 9], 9)) for s in (0, 1)]
    assert not same_splits(*by_seed)


@single_rows
@splitters
def test_an_int_gives_the_same_splits_at_each_call_and_touches_nothing(splitter):
    before, y = np.random.get_state()[1].copy(), Y.copy()  # noqa: NPY002
    y.flags.writeable = False
    assert same_splits(splits(splitter, y), splits(splitter, y))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("make", [partial(LabeledStratifiedKFold, 3, shuffle=True), LabeledStratifiedShuffleSplit])
def test_a_random_state_advances(make):
    splitter = make(random_state=np.random.RandomState(0))
    y = long_tail([20, 9], 9)
    assert not same_splits(splits(splitter, y), splits(splitter, y))


def of_objects(labels):
    return np.array(labels, dtype=object)


FORMS = {  # names of three classes, the mark, a container
    "int8": ([5, 6, 7], -1, partial(np.array, dtype=np.int8)),
    "float": ([5.0, 6.0, 7.0], -1.0, np.array),
    "NaN": ([5.0, 6.0, 7.0], np.nan, np.array),
    "list with None": ([5, 6, 7], None, list),
    "Int64": ([5, 6, 7], pd.NA, partial(pd.Series, dtype="Int64", index=range(100, 160))),
    "str and None": (["a", "b", "c"], None, of_objects),
    "str and NaN": (["a", "b", "c"], np.nan, of_objects),
    "str and -1": (["a", "b", "c"], -1, of_objects),
    "pandas str": (["a", "b", "c"], None, partial(pd.Series, dtype="str", index=range(100, 160))),
    "categorical": (["a", "b", "c"], None, partial(pd.Series, dtype="category")),
}


@pytest.mark.parametrize("splitter", [LabeledStratifiedKFold(3), LabeledStratifiedShuffleSplit(3, random_state=0)])
@pytest.mark.parametrize(("classes", "mark", "container"), FORMS.values(), ids=FORMS)
def test_forms_of_labels(splitter, classes, mark, container):
    y = long_tail([20, 9, 4], 27)
    given = container([classes[c] if c >= 0 else mark for c in y])
    assert same_splits(splits(splitter, given), splits(splitter, y))


@pytest.mark.parametrize("mark", [None, pd.NA, np.nan], ids=repr)
def test_booleans_in_arrays_of_objects(mark):
    y = long_tail([20, 9], 30)
    given = of_objects([bool(c) if c >= 0 else mark for c in y])
    with pytest.warns(UserWarning, match="an array of objects that holds numbers"):
        assert same_splits(splits(LabeledStratifiedKFold(3), given), splits(LabeledStratifiedKFold(3), y))


def test_minus_one_beside_one_alone_is_a_class():
    y = np.repeat([-1, 1], 10)
    tested = np.concatenate([test for _, test in splits(LabeledStratifiedKFold(5), y)])
    assert len(tested) == 20


def test_all_rows_labelled():
    y = long_tail([20, 9], 0)
    assert same_splits(splits(LabeledStratifiedKFold(4), y), splits(StratifiedKFold(4), y))


@splitters
def test_classes_with_a_single_row_are_named(splitter):
    with pytest.warns(UserWarning, match=r"^1 of 10 classes have a single labelled row \(9\)\. .* never tested"):
        splits(splitter, Y)


def test_not_all_of_many_classes_are_named():
    y = np.array([0] * 9 + [1] * 9 + list(range(2, 40)))
    with pytest.warns(UserWarning, match=r"^38 of 40 .* \(2, 3, 4, 5, 6, 7, 8, 9, 10, 11, \.\.\.\)"):
        splits(LabeledStratifiedKFold(2), y)


@splitters
def test_groups_are_ignored_with_a_warning(splitter):
    y = long_tail([40, 30, 20], 60)
    with pytest.warns(UserWarning, match=f"groups parameter is ignored by {type(splitter).__name__}"):
        found = list(splitter.split(y, y, groups=np.arange(len(y))))
    assert same_splits(found, splits(splitter, y))
    assert not hasattr(splitter, "set_split_request")  # routing offers nothing that would be ignored


def test_repr_names_the_parameters():
    assert repr(LabeledStratifiedKFold(3, shuffle=True, random_state=7)) == (
        "LabeledStratifiedKFold(n_splits=3, random_state=7, shuffle=True)"
    )


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (partial(LabeledStratifiedKFold, 1), ValueError, "'n_splits' .* LabeledStratifiedKFold .* at least 2. Got 1"),
        (partial(LabeledStratifiedKFold, 2.0), ValueError, "integer of at least 2. Got 2.0"),
        (partial(LabeledStratifiedKFold, shuffle=1), TypeError, "'shuffle' .* must be True or False. Got 1"),
        (partial(LabeledStratifiedKFold, random_state=0), ValueError, "must be None where 'shuffle' is False.* Got 0"),
        (partial(LabeledStratifiedShuffleSplit, 0), ValueError, "LabeledStratifiedShuffleSplit .* at least 1. Got 0"),
        (partial(LabeledStratifiedShuffleSplit, True), ValueError, "integer of at least 1. Got True"),
    ],
)
def test_wrong_parameters(make, error, words):
    with pytest.raises(error, match=words):
        make()


SMALL = np.repeat([0, 1, -1], [8, 4, 5])


@pytest.mark.parametrize(
    ("splitter", "y", "words"),
    [
        (LabeledStratifiedKFold(2), None, "y must be given to split"),
        (LabeledStratifiedKFold(2), np.full(17, -1), "at least two classes. Got no labelled row"),
        (LabeledStratifiedKFold(2), np.where(SMALL == 1, -1, SMALL), "at least two classes. Got one class only"),
        (LabeledStratifiedKFold(2), SMALL[:-1], "inconsistent numbers of samples"),
        (LabeledStratifiedKFold(13), SMALL, "each of the 13 folds.* Got 12; lower 'n_splits'"),
        (LabeledStratifiedShuffleSplit(test_size=11), SMALL, "'test_size' .* at most 10 of 12 .* Got 11 .* 11 rows"),
        (LabeledStratifiedShuffleSplit(test_size=0.9), SMALL, "at most 10 of 12 .* Got 0.9 instead, which is 11 rows"),
        (LabeledStratifiedShuffleSplit(test_size=12), SMALL, "must fit the 12 labelled rows. test_size=12"),
        (LabeledStratifiedShuffleSplit(test_size=0.5, train_size=0.6), SMALL, "must fit the 12 labelled rows. The sum"),
        (LabeledStratifiedShuffleSplit(train_size=1), SMALL, "at most 10 of 12 .* Got None instead, which is 11 rows"),
        (LabeledStratifiedShuffleSplit(test_size=0.1, train_size=1), SMALL, "'train_size' .* 2 classes a row. Got 1"),
    ],
)
def test_labels_that_cannot_be_split(splitter, y, words):
    with pytest.raises(ValueError, match=words):
        list(splitter.split(np.zeros(17), y))


@single_rows
def test_too_many_classes_of_one_row():
    with pytest.raises(ValueError, match=r"each of the 5 folds.* Got 2"):
        splits(LabeledStratifiedKFold(5), np.array([0, 0, 1, 2, 3, 4]))


@pytest.mark.parametrize(
    ("test_size", "train_size", "n_test", "n_train"),
    [(None, None, 9, 81), (0.25, None, 23, 67), (None, 0.5, 45, 45), (10, 20, 10, 20), (0.3, 9, 27, 9)],
)
def test_random_splits_have_the_sizes_asked_for(test_size, train_size, n_test, n_train):
    y = long_tail([50, 20, 10, 6, 4], 30)
    for train, test in splits(
        LabeledStratifiedShuffleSplit(30, test_size=test_size, train_size=train_size, random_state=0), y
    ):
        assert len(test) == n_test
        assert np.count_nonzero(y[train] >= 0) == n_train


@single_rows
def test_random_splits_give_each_class_its_share_on_average():
    sizes = np.array([50, 20, 10, 6, 4, 2, 1])
    y = long_tail(sizes, 30)
    found = splits(LabeledStratifiedShuffleSplit(3000, test_size=0.1, train_size=0.5, random_state=0), y)
    tested = np.array([np.bincount(y[test], minlength=7) for _, test in found])
    # The class of one row cannot be tested; its share goes to the others.
    share = np.where(sizes > 1, sizes * 10 / 92, 0)
    assert (np.floor(share) <= tested).all()
    assert (tested <= np.ceil(share)).all()
    np.testing.assert_allclose(tested.mean(axis=0), share, atol=0.04)
    trained = np.array([np.bincount(y[train[y[train] >= 0]], minlength=7) for train, _ in found])
    np.testing.assert_allclose(trained.mean(axis=0)[:4], 46 * sizes[:4] / 93, rtol=0.05)
    assert trained.min() == 1


def test_random_splits_draw_every_row():
    y = long_tail([12, 5], 4)
    tested = np.concatenate([t for _, t in splits(LabeledStratifiedShuffleSplit(60, test_size=0.3, random_state=0), y)])
    np.testing.assert_array_equal(np.unique(tested), np.flatnonzero(y >= 0))


# ------------------------------------------------------------------------------------------------- scikit-learn's tools


class Spy(ClassifierMixin, BaseEstimator):
    """Predicts a class it has seen and remembers, for all clones, what it was fitted to and scored on."""

    fitted, scored = [], []

    def __init__(self, n_steps=1):
        self.n_steps = n_steps

    def fit(self, X, y):
        self.classes_ = np.array(sorted({label for label in y if label is not None and label != -1}))
        Spy.fitted.append(list(y))
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


def remembering_score(y_true, y_pred):
    Spy.scored.append(list(y_true))
    return balanced_accuracy_score(y_true, y_pred)


@pytest.fixture
def spy():
    Spy.fitted.clear()
    Spy.scored.clear()
    return Spy()


N_CLASSES, N_FEATURES = 3, 4


def blobs(n, seed=0):
    y = np.arange(n) % N_CLASSES
    return np.random.default_rng(seed).normal(size=(n, N_FEATURES)) + 4 * np.eye(N_CLASSES, N_FEATURES)[y], y


BLOBS, BLOBS_Y = blobs(30)
BLOBS_U, _ = blobs(40, seed=1)
NAMES = {
    "int": np.array([3, 4, 5]),
    "str": np.array(["ant", "bee", "cat"]),
    "bool": np.array([False, True, True]),
    "-1 and 1": np.array([-1, 1, 1]),
}


def classifier(**params):
    return DMLPseudoLabelClassifier(**({"n_steps": 3, "max_rounds": 1, "random_state": 0, "device": "cpu"} | params))


@pytest.mark.parametrize("name", ["int", "str", "bool"])
@pytest.mark.parametrize("splitter", [LabeledStratifiedKFold(3), LabeledStratifiedShuffleSplit(3, test_size=9)])
def test_scorers_see_labelled_rows_only_and_fits_all_unlabelled_ones(spy, splitter, name):
    classes = NAMES[name]
    X, y = stack_unlabeled(BLOBS, classes[BLOBS_Y], BLOBS_U)
    scores = cross_validate(spy, X, y, cv=splitter, scoring=make_scorer(remembering_score), error_score="raise")
    assert len(scores["test_score"]) == len(Spy.scored) == len(Spy.fitted) == 3
    for trained, scored in zip(Spy.fitted, Spy.scored, strict=True):
        assert sum(label not in classes for label in trained) == 40
        assert set(classes.tolist()) <= set(trained)
        assert set(scored) <= set(classes.tolist())


@pytest.mark.parametrize("classes", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("scoring", [None, "balanced_accuracy", "f1_macro", "roc_auc_ovr", "neg_log_loss"])
def test_scores_of_the_classifier(classes, scoring):
    X, y = stack_unlabeled(BLOBS, classes[BLOBS_Y], BLOBS_U)
    cv = LabeledStratifiedKFold(2)
    scores = cross_validate(classifier(), X, y, cv=cv, scoring=scoring, error_score="raise")
    assert np.isfinite(scores["test_score"]).all()


def test_grid_search():
    X, y = stack_unlabeled(BLOBS, NAMES["str"][BLOBS_Y], BLOBS_U)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), classifier()),
        {"dmlpseudolabelclassifier__n_neighbors": [2, 5], "dmlpseudolabelclassifier__margin": [0.1, 0.4]},
        cv=LabeledStratifiedKFold(2),
        scoring="balanced_accuracy",
        error_score="raise",
    ).fit(X, y)
    assert search.classes_.tolist() == ["ant", "bee", "cat"]
    assert len(search.best_estimator_[-1].transduction_) == 70
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_halving_grid_search_by_steps():
    X, y = stack_unlabeled(BLOBS, NAMES["str"][BLOBS_Y], BLOBS_U)
    search = HalvingGridSearchCV(
        classifier(),
        {"margin": [0.1, 0.2, 0.4]},
        resource="n_steps",
        min_resources=2,
        max_resources=6,
        cv=LabeledStratifiedKFold(2),
        scoring="balanced_accuracy",
        return_train_score=False,  # there, the unlabelled rows would be scored
        error_score="raise",
    ).fit(X, y)
    assert search.n_resources_ == [2, 6]
    assert search.best_params_["n_steps"] == 6


def test_halving_grid_search_by_rows_leaves_unlabelled_rows_out():
    X, y = stack_unlabeled(BLOBS, BLOBS_Y, BLOBS_U)
    Spy.fitted.clear()
    HalvingGridSearchCV(
        Spy(), {"n_steps": [1, 2, 3]}, cv=LabeledStratifiedKFold(2), random_state=0, error_score="raise"
    ).fit(X, y)
    numbers = [fitted.count(-1) for fitted in Spy.fitted]
    assert numbers[0] < 40
    assert numbers[-1] == 40


def test_halving_grid_search_needs_an_int_where_rows_are_shuffled():
    search = HalvingGridSearchCV(
        Spy(), {"n_steps": [1, 2]}, cv=LabeledStratifiedKFold(2, shuffle=True), resource="n_steps", max_resources=9
    )
    with pytest.raises(ValueError, match="Set its random_state to an int"):
        search.fit(*stack_unlabeled(BLOBS, BLOBS_Y, BLOBS_U))


def test_cross_val_predict_wants_every_row_tested(spy):
    X, y = stack_unlabeled(BLOBS, BLOBS_Y, BLOBS_U)
    with pytest.raises(ValueError, match="only works for partitions"):
        cross_val_predict(spy, X, y, cv=LabeledStratifiedKFold(3))
    assert cross_val_predict(spy, BLOBS, BLOBS_Y, cv=LabeledStratifiedKFold(3)).shape == (30,)


def test_cross_val_predict_of_labelled_rows_with_unlabelled_rows_apart():
    predicted = cross_val_predict(
        classifier(n_steps=30), BLOBS, BLOBS_Y, cv=LabeledStratifiedKFold(3), params={"X_unlabeled": BLOBS_U}
    )
    assert balanced_accuracy_score(BLOBS_Y, predicted) > 0.8


def test_plain_folds_score_the_mark(spy):
    """The fault that the splitters mend: -1 is scored as a class that is never predicted."""
    X, y = stack_unlabeled(BLOBS, BLOBS_Y, BLOBS_U)
    scoring = make_scorer(remembering_score)
    cross_validate(spy, X, y, cv=KFold(5, shuffle=True, random_state=0), scoring=scoring)
    assert sum(scored.count(-1) for scored in Spy.scored) == 40
    assert all(fitted.count(-1) < 40 for fitted in Spy.fitted)


# ---------------------------------------------------------------------------------------------------- stack and split


MARKS = {  # labels, labels with two unlabelled rows behind, dtype
    "int": ([0, 1, 1], [0, 1, 1, -1, -1], np.int64),
    "int8": (np.array([0, 1, 1], np.int8), [0, 1, 1, -1, -1], np.int8),
    "uint8": (np.array([0, 255, 1], np.uint8), [0, 255, 1, -1, -1], np.int64),
    "float": ([0.0, 2.0, 3.0], [0, 2, 3, -1, -1], np.float64),
    "bool": ([False, True, True], [0, 1, 1, -1, -1], np.int64),
    "str": (["a", "b", "bc"], ["a", "b", "bc", None, None], object),
    "objects": (of_objects(["a", "b", "bc"]), ["a", "b", "bc", None, None], object),
    "numbers in objects": (of_objects([2, 3, None]), [2, 3, -1, -1, -1], np.int64),
    "Int64": (pd.Series([2, 3, pd.NA], dtype="Int64", index=[4, 4, 4]), [2, 3, -1, -1, -1], np.int64),
    "boolean": (pd.Series([True, False, pd.NA], dtype="boolean"), [1, 0, -1, -1, -1], np.int64),
    "categorical": (pd.Series(["u", "v", None], dtype="category"), ["u", "v", None, None, None], object),
    "-1 and 1": ([-1, 1, 1], [-1, 1, 1, np.nan, np.nan], np.float64),
    "-1, 0 and 1": ([-1, 0, 1], [-1, 0, 1, -1, -1], np.int64),
}


@pytest.mark.parametrize(("y", "expected", "dtype"), MARKS.values(), ids=MARKS)
def test_marks(y, expected, dtype):
    X, stacked = stack_unlabeled(np.ones((3, 2)), y, np.zeros((2, 2)))
    np.testing.assert_array_equal(X, [[1, 1]] * 3 + [[0, 0]] * 2)
    assert isinstance(stacked, np.ndarray)
    assert stacked.dtype == dtype
    np.testing.assert_array_equal(stacked, np.array(expected, dtype=dtype))


@pytest.mark.parametrize("y", [[0, 1, 1], ["a", "b", "bc"], [False, True, True], [-1, 1, 1], [0.0, 2.0, 3.0]], ids=str)
def test_apart_and_together_are_inverse(y):
    X, U = np.arange(6.0).reshape(3, 2), np.arange(4.0).reshape(2, 2)
    again = split_unlabeled(*stack_unlabeled(X, y, U))
    np.testing.assert_array_equal(again[0], X)
    np.testing.assert_array_equal(again[1], y)
    np.testing.assert_array_equal(again[2], U)
    assert again[1].dtype.kind == np.array(y).dtype.kind or set(y) in ({False, True}, {-1, 1})
    np.testing.assert_array_equal(stack_unlabeled(*again)[1], stack_unlabeled(X, y, U)[1])


def test_rows_marked_before_stay_marked():
    X, y = stack_unlabeled(np.arange(4.0)[:, None], ["a", None, "b", np.nan], [[9.0]])
    assert y.tolist() == ["a", None, "b", None, None]
    X_labeled, y_labeled, X_unlabeled = split_unlabeled(X, y)
    assert X_labeled.ravel().tolist() == [0, 2]
    assert y_labeled.tolist() == ["a", "b"]
    assert X_unlabeled.ravel().tolist() == [1, 3, 9]


@pytest.mark.parametrize("nothing", [None, [], np.empty((0, 2))], ids=repr)
def test_nothing_to_add(nothing):
    X = np.ones((3, 2))
    stacked, y = stack_unlabeled(X, ["a", "b", "b"], nothing)
    assert np.shares_memory(stacked, X)
    assert y.tolist() == ["a", "b", "b"]
    assert y.dtype.kind == "U"


@pytest.mark.parametrize("of", [of_objects, lambda values: pd.Series(of_objects(values))], ids=["array", "Series"])
def test_numbers_in_arrays_of_objects_are_warned_of(of):
    folds, X = LabeledStratifiedKFold(2), np.zeros((5, 1))
    with pytest.warns(UserWarning, match=r"array of objects that holds numbers.*stack_unlabeled\(X, y\)"):
        list(folds.split(X, of([5, 7, None, 7, 5])))
    list(folds.split(X, of(["a", "b", None, "b", "a"])))  # warnings are errors
    list(folds.split(X, pd.Series([5, 7, None, 7, 5], dtype="Int64")))
    list(folds.split(X, stack_unlabeled(X, of([5, 7, None, 7, 5]))[1]))


def test_nothing_to_add_to_a_frame():
    frame = pd.DataFrame(np.ones((3, 2)), columns=["a", "b"])
    for nothing in (None, pd.DataFrame(), frame[:0], []):
        pd.testing.assert_frame_equal(stack_unlabeled(frame, [0, 1, 1], nothing)[0], frame)


def test_labels_take_the_form_that_scorers_take():
    _, y = stack_unlabeled(np.ones((4, 2)), of_objects([5, 7, None, 7]))
    assert y.tolist() == [5, 7, -1, 7]
    assert y.dtype.kind == "i"


def test_the_model_is_the_same_in_both_forms():
    X, y = stack_unlabeled(BLOBS, NAMES["str"][BLOBS_Y], BLOBS_U)
    together = classifier().fit(X, y)
    apart = classifier().fit(*split_unlabeled(X, y))
    np.testing.assert_array_equal(together.predict_proba(X), apart.predict_proba(X))
    np.testing.assert_array_equal(together.transduction_, apart.transduction_)


def test_images_keep_their_dtype(tmp_path):
    images = np.arange(5 * 12, dtype=np.uint8).reshape(5, 3, 2, 2)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    X, y = stack_unlabeled(mapped[:2], [0, 1], mapped[2:])
    assert type(X) is np.ndarray
    assert X.dtype == np.uint8
    np.testing.assert_array_equal(X, images)
    X_labeled, _, X_unlabeled = split_unlabeled(mapped, y)
    np.testing.assert_array_equal(X_labeled, images[:2])
    np.testing.assert_array_equal(X_unlabeled, images[2:])


def test_data_frames_keep_names_index_and_dtypes():
    frame = pd.DataFrame({"a": [1, 2, 3], "b": pd.array([True, None, False], dtype="boolean")}, index=list("xyz"))
    X, y = stack_unlabeled(frame[:2], pd.Series([4, 5], index=["x", "y"]), frame[2:])
    pd.testing.assert_frame_equal(X, frame)
    assert y.tolist() == [4, 5, -1]
    X_labeled, _, X_unlabeled = split_unlabeled(frame, y)
    pd.testing.assert_frame_equal(X_labeled, frame[:2])
    pd.testing.assert_frame_equal(X_unlabeled, frame[2:])


def test_names_on_one_side_only():
    frame, array = pd.DataFrame(np.ones((2, 2)), columns=["a", "b"]), np.zeros((1, 2))
    X, _ = stack_unlabeled(frame, [0, 1], array)
    assert list(X.columns) == ["a", "b"]
    np.testing.assert_array_equal(X, [[1, 1], [1, 1], [0, 0]])
    X, _ = stack_unlabeled(array.repeat(2, axis=0), [0, 1], frame)
    np.testing.assert_array_equal(X, [[0, 0], [0, 0], [1, 1], [1, 1]])


def test_columns_keep_their_dtypes_whatever_the_unlabelled_rows_come_in():
    frame = pd.DataFrame({"a": ["x", "y"], "b": [1.5, 2.0]})
    for unlabeled in ([["z", 3.0]], np.array([["z", 3.0]], dtype=object)):
        X, _ = stack_unlabeled(frame, [0, 1], unlabeled)
        assert X["b"].tolist() == [1.5, 2.0, 3.0]
        assert X["b"].dtype == np.float64
        assert X["a"].tolist() == ["x", "y", "z"]


def test_rows_that_only_a_pipeline_understands():
    X, _ = stack_unlabeled(["some text", "more"], [0, 1], pd.Series(["other", None], dtype=object))
    assert X.tolist() == ["some text", "more", "other", None]
    X, _ = stack_unlabeled([[np.nan], [1.0]], [0, 1], [[np.inf]])
    np.testing.assert_array_equal(X, [[np.nan], [1], [np.inf]])


FRAME = pd.DataFrame(np.ones((2, 2)), columns=["a", "b"])


@pytest.mark.parametrize(
    ("X", "y", "unlabeled", "error", "words"),
    [
        (np.ones((2, 2)), [0, 1], np.ones((2, 3)), ValueError, "X_unlabeled must .* same shape as X, (2,). Got (3,)"),
        (FRAME, [0, 1], np.ones((2, 3)), ValueError, "same shape as X, (2,). Got (3,)"),
        (FRAME, [0, 1], FRAME[["b", "a"]], ValueError, "columns of X in the same order, ['a', 'b']. Got ['b', 'a']"),
        (np.ones((2, 1, 4, 4), np.uint8), [0, 1], np.ones((2, 1, 4, 4)), ValueError, "uint8 where X does"),
        ([[1.0], [2.0]], [0, 1], [["3"]], ValueError, "X_unlabeled must hold numbers where X does"),
        (sp.csr_array(np.eye(2)), [0, 1], None, TypeError, "Sparse"),
        (np.eye(2), [0, 1], sp.csr_array(np.eye(2)), TypeError, "Sparse"),
        (np.eye(2), [0], None, ValueError, "y must have one label for each row of X, 2 labels. Got 1"),
        (np.eye(2), [0, -1], np.eye(2), ValueError, "one class only: 0"),
        (np.eye(2), ["a", 2], np.eye(2), TypeError, "of one kind"),
    ],
    ids=str,
)
def test_wrong_arguments(X, y, unlabeled, error, words):
    with pytest.raises(error, match=".*".join(map(re.escape, words.split(" .* ")))):
        stack_unlabeled(X, y, unlabeled)
