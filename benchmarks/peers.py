"""The methods compared: scikit-learn's, and ours, all with ``fit(X_labeled, y, X_unlabeled)`` and ``predict(X)``."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC


class Peer(BaseEstimator, ClassifierMixin):
    """A scikit-learn classifier behind a scaler that sees the unlabelled rows too, where there are any.

    Parameters
    ----------
    scaler, classifier : estimator
    """

    def __init__(self, scaler, classifier):
        self.scaler = scaler
        self.classifier = classifier

    def fit(self, X_labeled, y, X_unlabeled=None):
        if X_unlabeled is not None:
            y = np.concatenate([y, np.full(len(X_unlabeled), -1)])
            X_labeled = np.concatenate([X_labeled, X_unlabeled])
        self.classifier.fit(self.scaler.fit_transform(X_labeled), y)
        return self

    def predict(self, X):
        return self.classifier.predict(self.scaler.transform(X))


class SoftmaxSVC(SVC):
    """An SVC with the probabilities that self-training asks for.

    Calibration by cross-validation, which scikit-learn recommends, cannot be relied on where a class has two rows.
    """

    def predict_proba(self, X):
        scores = self.decision_function(X)
        if scores.ndim == 1:  # of two classes, how much the second is above the first
            scores = np.column_stack([np.zeros_like(scores), scores])
        return softmax(scores, axis=1)


class Method(NamedTuple):
    """A method, and its place among those of the same model and budget.

    ``supervised`` is fitted on the labelled rows, ``oracle`` on all rows with their true labels, and
    ``semi-supervised`` on the labelled and the unlabelled rows.
    """

    make: Callable[[int], ClassifierMixin]  # from the seed
    role: Literal["supervised", "semi-supervised", "oracle"]
    family: str


def _unit_rows() -> BaseEstimator:
    return make_pipeline(StandardScaler(with_std=False), Normalizer())


def _logreg() -> LogisticRegression:
    return LogisticRegression(class_weight="balanced", max_iter=1000)


def _svc() -> SVC:
    return SoftmaxSVC(C=10, class_weight="balanced")


def _family(name: str, scaler: Callable[[], BaseEstimator], classifier: Callable[[], BaseEstimator]):
    """The same classifier fitted on the labelled rows, on all with their true labels, and self-trained."""
    return {
        name: Method(lambda seed: Peer(scaler(), classifier()), "supervised", name),
        f"self-training-{name}": Method(
            lambda seed: Peer(scaler(), SelfTrainingClassifier(classifier())), "semi-supervised", name
        ),
        f"{name}-oracle": Method(lambda seed: Peer(scaler(), classifier()), "oracle", name),
    }


def ours(**params) -> Callable[[int], ClassifierMixin]:
    def make(seed):
        from skdmlpl import DMLPseudoLabelClassifier

        return DMLPseudoLabelClassifier(random_state=seed, **params)

    return make


def _trees(name: str, make: Callable[[int], ClassifierMixin]) -> dict[str, Method]:
    return {name: Method(lambda seed: Peer(FunctionTransformer(), make(seed)), "supervised", name)}


METHODS: dict[str, Method] = {
    **_family("logreg", StandardScaler, _logreg),
    **_family("logreg-l2", _unit_rows, _logreg),
    **_family("svc", StandardScaler, _svc),
    **_family("svc-l2", _unit_rows, _svc),
    **_trees(
        "random-forest",
        lambda seed: RandomForestClassifier(500, class_weight="balanced_subsample", random_state=seed),
    ),
    **_trees(
        "hist-gradient-boosting",
        lambda seed: HistGradientBoostingClassifier(class_weight="balanced", random_state=seed),
    ),
    "label-spreading-knn": Method(
        lambda seed: Peer(_unit_rows(), LabelSpreading(kernel="knn", n_neighbors=5)), "semi-supervised", "graph"
    ),
    "label-spreading-rbf": Method(
        lambda seed: Peer(_unit_rows(), LabelSpreading(kernel="rbf", gamma=30)), "semi-supervised", "graph"
    ),
    "ours": Method(ours(), "semi-supervised", "ours"),
    "ours-supervised": Method(ours(max_rounds=0), "supervised", "ours"),
    "ours-oracle": Method(ours(max_rounds=0), "oracle", "ours"),
}
