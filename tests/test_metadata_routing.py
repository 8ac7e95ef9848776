"""X_unlabeled on its way through scikit-learn's meta-estimators: it arrives whole, or the user is told."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, KFold, StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.model_selection import LabeledStratifiedKFold, stack_unlabeled

N_CLASSES, N_FEATURES = 3, 4
NAMES = np.array(["ant", "bee", "cat"])


def blobs(n, seed=0):
    y = np.arange(n) % N_CLASSES
    return np.random.default_rng(seed).normal(size=(n, N_FEATURES)) + 4 * np.eye(N_CLASSES, N_FEATURES)[y], y


X, Y = blobs(30)
U, _ = blobs(40, seed=1)
X_TEST, Y_TEST = blobs(60, seed=2)
AS_LONG_AS_X = "X_unlabeled has as many rows as X, {}"


class CountingClassifier(DMLPseudoLabelClassifier):
    """Remembers, for all clones, how many unlabelled rows each fit was given apart and in y."""

    fits = []

    def fit(self, X, y, X_unlabeled=None):
        self.fits.append((0 if X_unlabeled is None else len(X_unlabeled), list(y).count(-1)))
        return super().fit(X, y, X_unlabeled)


def classifier(**params):
    CountingClassifier.fits.clear()
    return CountingClassifier(**({"n_steps": 3, "max_rounds": 1, "random_state": 0, "device": "cpu"} | params))


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def halving_search(ours):
    resources = {"resource": "n_steps", "min_resources": 1, "max_resources": 3}
    return HalvingGridSearchCV(ours, {"margin": [0.1, 0.2]}, cv=LabeledStratifiedKFold(2), factor=2, **resources)


META = {  # a meta-estimator around ours, and the number of its fits
    "calibrated": (lambda ours: CalibratedClassifierCV(ours, cv=2), 2),
    "calibrated, one model": (lambda ours: CalibratedClassifierCV(ours, cv=2, ensemble=False), 3),
    "calibrated with the splitter": (lambda ours: CalibratedClassifierCV(ours, cv=LabeledStratifiedKFold(3)), 3),
    "bagging": (lambda ours: BaggingClassifier(ours, n_estimators=3, random_state=0), 3),
    "bagging of columns": (lambda ours: BaggingClassifier(ours, 2, bootstrap=False, max_samples=0.9), 2),
    "voting": (lambda ours: VotingClassifier([("ours", ours), ("linear", LogisticRegression())], voting="soft"), 1),
    "grid search": (lambda ours: GridSearchCV(ours, {"margin": [0.1, 0.2]}, cv=LabeledStratifiedKFold(2)), 5),
    "halving search": (halving_search, 7),  # both settings, then the better one, on two folds; and all rows
}


@pytest.mark.parametrize(("wrap", "n_fits"), META.values(), ids=META)
@pytest.mark.parametrize("names", [np.arange(3), NAMES], ids=["int", "str"])
def test_every_fit_gets_all_unlabelled_rows(wrap, n_fits, names, routing):
    model = wrap(classifier().set_fit_request(X_unlabeled=True)).fit(X, names[Y], X_unlabeled=U)
    assert CountingClassifier.fits == [(40, 0)] * n_fits
    assert model.classes_.tolist() == names.tolist()
    assert set(model.predict(X_TEST)) <= set(names)
    np.testing.assert_allclose(model.predict_proba(X_TEST).sum(axis=1), 1)


def test_unlabelled_rows_make_a_difference_behind_a_meta_estimator(routing):
    ours = classifier(n_steps=10).set_fit_request(X_unlabeled=True)
    voting = VotingClassifier([("ours", ours)], voting="soft").fit(X, Y, X_unlabeled=U)
    alone = clone(ours).fit(X, Y, U)
    np.testing.assert_array_equal(voting.predict_proba(X_TEST), alone.predict_proba(X_TEST))
    assert np.abs(alone.predict_proba(X_TEST) - clone(ours).fit(X, Y).predict_proba(X_TEST)).max() > 1e-3


def test_a_fitted_classifier_is_calibrated_as_it_is():
    ours = classifier(n_steps=10).fit(X, Y, U)
    calibrated = CalibratedClassifierCV(FrozenEstimator(ours)).fit(X_TEST, Y_TEST)
    assert CountingClassifier.fits == [(40, 0)]
    assert calibrated.score(X_TEST, Y_TEST) > 0.9


def test_cross_validate_passes_unlabelled_rows_with_and_without_routing():
    ours = classifier()
    cross_validate(ours, X, Y, cv=2, params={"X_unlabeled": U}, error_score="raise")
    with sklearn.config_context(enable_metadata_routing=True):
        ours.set_fit_request(X_unlabeled=True)
        cross_validate(ours, X, Y, cv=2, params={"X_unlabeled": U}, error_score="raise")
    assert CountingClassifier.fits == [(40, 0)] * 4


def test_unlabelled_rows_that_are_not_requested_are_an_error(routing):
    with pytest.raises(UnsetMetadataPassedError, match=r"\[X_unlabeled\] are passed but are not explicitly set"):
        GridSearchCV(classifier(), {"margin": [0.1, 0.2]}, cv=2).fit(X, Y, X_unlabeled=U)
    assert CountingClassifier.fits == []


def test_a_pipeline_with_and_without_transform_input(routing):
    ours = classifier().set_fit_request(X_unlabeled=True)
    scaled = make_pipeline(StandardScaler(), ours, transform_input=["X_unlabeled"]).fit(X, Y, X_unlabeled=U)
    unscaled = make_pipeline(StandardScaler(), clone(ours)).fit(X, Y, X_unlabeled=U)
    scaler = StandardScaler().fit(X)
    for model, unlabeled in ((scaled, scaler.transform(U)), (unscaled, U)):
        by_hand = clone(ours).fit(scaler.transform(X), Y, unlabeled)
        np.testing.assert_array_equal(model[-1].label_distributions_, by_hand.label_distributions_)


def test_a_pipeline_learns_from_rows_that_y_marks():
    stacked, marked = stack_unlabeled(X, Y, U)
    model = make_pipeline(StandardScaler(), classifier()).fit(stacked, marked)
    np.testing.assert_allclose(model[0].mean_, stacked.mean(axis=0))
    by_hand = classifier().fit(StandardScaler().fit_transform(stacked), marked)
    np.testing.assert_array_equal(model[-1].label_distributions_, by_hand.label_distributions_)


def test_a_pipeline_in_a_meta_estimator(routing):
    ours = classifier().set_fit_request(X_unlabeled=True)
    pipeline = make_pipeline(StandardScaler(), ours, transform_input=["X_unlabeled"])
    CalibratedClassifierCV(pipeline, cv=2).fit(X, Y, X_unlabeled=U)
    assert CountingClassifier.fits == [(40, 0)] * 2


# --------------------------------------------------------------------------------------------- as many rows as X


def test_cross_validation_cuts_unlabelled_rows_that_are_as_many_as_X_and_fit_says_so():
    with pytest.warns(UserWarning, match=AS_LONG_AS_X.format(15)):
        cross_validate(classifier(), X, Y, cv=StratifiedKFold(2), params={"X_unlabeled": U[:30]})
    assert CountingClassifier.fits == [(15, 0)] * 2


CUTS = {
    "grid search": (lambda ours: GridSearchCV(ours, {"margin": [0.1]}, cv=LabeledStratifiedKFold(3), refit=False), 20),
    "calibrated": (lambda ours: CalibratedClassifierCV(ours, cv=LabeledStratifiedKFold(3)), 20),
    "bagging": (lambda ours: BaggingClassifier(ours, n_estimators=2, max_samples=21, random_state=0), 21),
    "a search in a search": (
        lambda ours: GridSearchCV(
            GridSearchCV(ours, {"margin": [0.1]}, cv=2), {"cv": [2]}, cv=LabeledStratifiedKFold(3)
        ),
        10,
    ),
    "a pipeline": (
        lambda ours: GridSearchCV(
            make_pipeline(StandardScaler(), ours, transform_input=["X_unlabeled"]), {}, cv=KFold(3, shuffle=True)
        ),
        20,
    ),
}


@pytest.mark.parametrize(("wrap", "n_left"), CUTS.values(), ids=CUTS)
def test_every_cut_is_noticed(wrap, n_left, routing):
    ours = classifier().set_fit_request(X_unlabeled=True)
    with pytest.warns(UserWarning, match=AS_LONG_AS_X.format("")) as told:
        wrap(ours).fit(X, Y, X_unlabeled=U[:30])
    assert any(AS_LONG_AS_X.format(n_left) in str(warning.message) for warning in told)
    assert (n_left, 0) in CountingClassifier.fits


def test_rows_that_y_marks_are_never_cut_and_never_warned_of():
    stacked, marked = stack_unlabeled(X, Y, U[:30])
    GridSearchCV(classifier(), {"margin": [0.1]}, cv=LabeledStratifiedKFold(3)).fit(stacked, marked)
    assert CountingClassifier.fits == [(0, 30)] * 4


@pytest.mark.parametrize("n_unlabeled", [29, 31])
def test_one_row_more_or_less_passes_whole(n_unlabeled):
    cross_validate(classifier(), X, Y, cv=2, params={"X_unlabeled": U[:n_unlabeled]}, error_score="raise")
    assert CountingClassifier.fits == [(n_unlabeled, 0)] * 2


def test_a_fit_outside_of_cross_validation_loses_nothing():
    with pytest.warns(UserWarning, match=AS_LONG_AS_X.format(30)):
        model = classifier().fit(X, Y, U[:30])
    stacked, marked = stack_unlabeled(X, Y, U[:30])
    np.testing.assert_array_equal(model.transduction_, classifier().fit(stacked, marked).transduction_)


# ---------------------------------------------------------------------------- meta-classifiers that number the classes


@pytest.mark.parametrize("kind", ["bagging", "voting", "calibrated"])
def test_ensembles_take_a_mark_for_a_class(kind):
    """Why their unlabelled rows have to come apart: they number the labels before our fit sees them."""
    stacked, marked = stack_unlabeled(X, Y, U)
    model = META[kind][0](classifier()).fit(stacked, marked)
    assert -1 in model.classes_
    with pytest.raises(TypeError, match="str"):
        META[kind][0](classifier()).fit(*stack_unlabeled(X, NAMES[Y], U))
