"""A selector of your own, with a parameter that a grid search can reach."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.datasets import make_long_tailed_split
from skdmlpl.interfaces import PseudoLabels


class NearestMeanSelector(BaseEstimator):
    """The class whose labelled rows have the nearest mean, for the surest share of each class."""

    def __init__(self, share=0.5):
        self.share = share

    def select(self, embeddings, y, proba):
        n_classes = proba.shape[1]
        means = np.stack([embeddings[y == c].mean(axis=0) for c in range(n_classes)])
        similarity = embeddings @ means.T  # (n_samples, n_classes)
        labels = similarity.argmax(axis=1)
        runner_up, best = np.sort(similarity, axis=1)[:, -2:].T
        weights = np.clip(best - runner_up, 0, 1)
        for c in range(n_classes):  # the same share of every class, so that rare classes keep theirs
            of_class = np.flatnonzero(labels == c)
            least_sure_first = of_class[weights[of_class].argsort(kind="stable")]
            labels[least_sure_first[: int((1 - self.share) * len(of_class))]] = -1
        return PseudoLabels(labels, np.where(labels == -1, 0, weights))


X, y = load_digits(return_X_y=True)
labeled, unlabeled, test = make_long_tailed_split(
    y, n_labeled=20, n_unlabeled=40, imbalance_ratio=4, n_test_per_class=40, random_state=0
)
clf = DMLPseudoLabelClassifier(selector=NearestMeanSelector(), max_rounds=1, random_state=0)
clf.set_params(selector__share=0.8)
clf.fit(X[labeled], y[labeled], X_unlabeled=X[unlabeled])
print(f"accuracy {clf.score(X[test], y[test]):.2f}")
