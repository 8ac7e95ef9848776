"""Which rows to label next."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator

from skdmlpl._validation import check_positive_integer
from skdmlpl.inspection._fitted_rows import compare_fitted_rows, estimator_and_rows
from skdmlpl.neighbors import knn_graph

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SuggestedRows", "suggest_rows"]

# As in the graph that labels spread over.
_COSINE_POWER = 3


@dataclass(frozen=True)
class SuggestedRows:
    """What :func:`suggest_rows` found, most worth a label first.

    Attributes
    ----------
    rows : ndarray of shape (n_rows,), int
        Row numbers, as in ``transduction_``.
    labels : ndarray of shape (n_rows,)
        Their pseudo-labels; where a row has none, its most probable label.
    reliability : ndarray of shape (n_rows,), float64
        How sure these labels are, in [0, 1].
    influence : ndarray of shape (n_rows,), float64
        Number of unlabelled rows that have the row among their nearest neighbours, weighted by their likeness to it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdmlpl import DMLPseudoLabelClassifier
    >>> from skdmlpl.inspection import suggest_rows
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = DMLPseudoLabelClassifier(n_steps=100, max_rounds=1, random_state=0).fit(X[::5], y[::5], X)
    >>> suggested = suggest_rows(clf, X[::5], X, n_rows=3)
    >>> suggested.to_frame().columns.tolist()
    ['row', 'label', 'reliability', 'influence']
    >>> rows_to_label = X[suggested.rows - 30]  # the first 30 rows given to fit are labelled
    """

    rows: np.ndarray
    labels: np.ndarray
    reliability: np.ndarray
    influence: np.ndarray

    def to_frame(self) -> "pd.DataFrame":
        """Return one line for each row.

        Returns
        -------
        pandas.DataFrame
            Columns ``row``, ``label``, ``reliability`` and ``influence``.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame(
            {"row": self.rows, "label": self.labels, "reliability": self.reliability, "influence": self.influence}
        )


def suggest_rows(
    estimator: BaseEstimator, X, X_unlabeled=None, *, n_rows: int = 10, n_neighbors: int = 10
) -> SuggestedRows:
    r"""Suggest the unlabelled rows that are most worth a human's label.

    A label is worth most where the row's own is unreliable, where many rows are like it, and in rare classes. Let
    :math:`u_i` be one minus the reliability of the label of row :math:`i`, :math:`n_i` the number of unlabelled rows
    with the same label, and :math:`a_{ji} = \max(0, \cos)^3` where :math:`i` is among the :math:`k` nearest neighbours
    of :math:`j` by the final network, as the fit looks for them, else 0. The row of the largest

    .. math:: \frac{u_i}{n_i} \Big( 1 + \frac{1}{k} \sum_j a_{ji} \Big)

    comes first: uncertainty times density [1]_, by class. Then the labels of its neighbours count as settled as far as
    they are alike, :math:`u_j` is multiplied by :math:`1 - \max(a_{ji}, a_{ij})`, and the next row is chosen, so that
    the suggestions do not all lie in one place.

    Give these rows their labels, move them to the labelled ones and fit again.

    Parameters
    ----------
    estimator : DMLPseudoLabelClassifier or Pipeline
        Fitted estimator, or a pipeline that ends with one.
    X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
        As given to fit.
    X_unlabeled : array-like of shape (n_unlabeled, ...) or None, default=None
        As given to fit. A pipeline transforms it as it does `X`: where `fit` got it transformed, the one before.
    n_rows : int, default=10
        Number of rows to suggest; all unlabelled ones, in order, where there are no more.
    n_neighbors : int, default=10
        Nearest neighbours of each unlabelled row, among the unlabelled rows.

    Returns
    -------
    SuggestedRows
        Arrays, best row first; its method ``to_frame`` makes a DataFrame of them.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator keeps no record of its rounds.
    ValueError
        If `X` and `X_unlabeled` are not the rows given to fit, a parameter does not fit, or fit was given no unlabelled
        rows.

    References
    ----------
    .. [1] Settles, Craven, "An analysis of active learning strategies for sequence labeling tasks", EMNLP 2008,
       :doi:`10.3115/1613715.1613855`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skdmlpl import DMLPseudoLabelClassifier
    >>> from skdmlpl.inspection import suggest_rows
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = DMLPseudoLabelClassifier(n_steps=100, max_rounds=1, random_state=0).fit(X[::5], y[::5], X)
    >>> suggested = suggest_rows(clf, X[::5], X, n_rows=5)
    >>> np.unique(suggested.labels)  # setosa, class 0, is easy to tell from the others
    array([1, 2])
    """
    check_positive_integer("n_rows", n_rows, "suggest_rows")
    check_positive_integer("n_neighbors", n_neighbors, "suggest_rows")
    estimator, training_rows = estimator_and_rows(estimator, X, X_unlabeled, "suggest_rows")
    unlabeled = np.flatnonzero(estimator.labeled_iter_ != 0)
    if len(unlabeled) == 0:
        raise ValueError("suggest_rows needs unlabelled rows. Every row given to fit has a label.")

    embeddings = compare_fitted_rows(estimator, training_rows, np.arange(len(training_rows)))[unlabeled]
    codes, reliability = _labels_to_review(estimator, unlabeled)
    likeness = _likeness(embeddings, n_neighbors)
    influence = likeness.sum(axis=1)
    class_size = np.bincount(codes)[codes]
    worth = (1 - reliability) / class_size * (1 + influence / n_neighbors)
    chosen = _choose(worth, likeness.maximum(likeness.T).tocsr(), min(n_rows, len(unlabeled)))
    return SuggestedRows(
        rows=unlabeled[chosen],
        labels=estimator.classes_[codes[chosen]],
        reliability=reliability[chosen],
        influence=influence[chosen],
    )


def _labels_to_review(estimator: BaseEstimator, unlabeled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return class indices and reliability of the unlabelled rows, the network's where a row has no pseudo-label."""
    codes, weights, _ = estimator.history_[-1].pseudo_labels
    proba = estimator.label_distributions_[unlabeled]
    second, first = np.partition(proba, -2, axis=1)[:, -2:].T
    return np.where(codes >= 0, codes, proba.argmax(axis=1)), np.where(codes >= 0, weights, first - second)


def _likeness(embeddings: np.ndarray, n_neighbors: int) -> sp.csr_array:
    """Return a sparse (n, n): in line i, the likeness of the rows that have i among their nearest neighbours."""
    n = len(embeddings)
    distances, neighbors = knn_graph(embeddings, n_neighbors, random_state=0)
    cosines = np.maximum(1 - distances.astype(np.float64) ** 2 / 2, 0)  # of unit vectors
    finders = np.repeat(np.arange(n), neighbors.shape[1])
    return sp.csr_array((cosines.ravel() ** _COSINE_POWER, (neighbors.ravel(), finders)), shape=(n, n))


def _choose(worth: np.ndarray, likeness: sp.csr_array, n_rows: int) -> np.ndarray:
    """Return the numbers of the rows of the largest worth, which falls as rows like them are chosen."""
    worth, chosen = worth.copy(), np.empty(n_rows, dtype=np.int64)
    for place in range(n_rows):
        chosen[place] = best = worth.argmax()
        alike = likeness[[best]]
        worth[alike.indices] *= 1 - np.minimum(alike.data, 1)
        worth[best] = -1  # below all others, whose worth is not negative
    return chosen
