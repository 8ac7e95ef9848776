"""What the loaders of the published protocols return."""

import numpy as np
from sklearn.utils import Bunch

__all__ = ["draw_labeled", "partly_labeled"]


def draw_labeled(y: np.ndarray, fraction: float, n_classes: int, rng: np.random.RandomState) -> np.ndarray:
    """Draw ``fraction`` of the rows of each class, rounded, and at least one; return their numbers, ascending."""
    sizes = np.bincount(y, minlength=n_classes)
    if not sizes.all():
        raise ValueError(f"There is no training image of class {np.flatnonzero(sizes == 0).tolist()}.")
    counts = np.maximum(np.around(sizes * fraction).astype(int), 1)
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(y == c))[:count] for c, count in enumerate(counts)]))


def partly_labeled(
    X: np.ndarray,
    y: np.ndarray,
    labeled: np.ndarray,
    X_test: np.ndarray,
    y_test: np.ndarray,
    target_names: np.ndarray,
) -> Bunch:
    """Hide the labels of all rows but ``labeled``.

    The images stay one array, with -1 in ``y``: parts drawn from a memory map would have to be copied into memory.
    """
    is_unlabeled = np.ones(len(y), dtype=bool)
    is_unlabeled[labeled] = False
    return Bunch(
        X=X,
        y=np.where(is_unlabeled, -1, y),
        labeled=labeled,
        unlabeled=np.flatnonzero(is_unlabeled),
        y_unlabeled=y[is_unlabeled],
        X_test=X_test,
        y_test=y_test,
        target_names=target_names,
    )
