"""Deals labelled rows out to the folds of a cross-validation."""

import numpy as np

__all__ = ["deal_out", "testable_rows"]


def testable_rows(codes: np.ndarray) -> np.ndarray:
    """Return the labelled rows that may be held out: not the only one of a class, as nobody can tell one never seen.

    ``codes`` (n_samples,) holds class indices, -1 on unlabelled rows.
    """
    sizes = np.bincount(codes[codes >= 0])
    return np.flatnonzero((codes >= 0) & (sizes[codes] > 1))


def deal_out(rows: np.ndarray, codes: np.ndarray, n_folds: int) -> np.ndarray:
    """Return the fold (n_samples,) of each of ``rows``, and -1 for all others.

    A fold has as many rows as another, and as many of each class, give or take one. scikit-learn's StratifiedKFold
    gives all single rows of small classes to the same folds.
    """
    # Classes in the order in which they come, so that other names for them give the same folds.
    _, first, inverse = np.unique(codes[rows], return_index=True, return_inverse=True)
    class_rank = np.argsort(np.argsort(first))[inverse]
    by_class = np.argsort(class_rank, kind="stable")
    # Dealt like cards, on through all classes: the folds are of equal size however many small classes there are. Within
    # a class the folds are then put in order, so that each gets neighbours of the data.
    dealt = np.arange(len(rows)) % n_folds
    dealt = dealt[np.lexsort((dealt, class_rank[by_class]))]
    folds = np.full(len(codes), -1)
    folds[rows[by_class]] = dealt
    return folds
