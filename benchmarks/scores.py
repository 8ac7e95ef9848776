"""The scores of all benchmarks."""

import numpy as np
from sklearn.metrics import recall_score


def class_recalls(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    """Recall of each class that occurs in ``y_true``, in sorted order."""
    return recall_score(y_true, y_pred, labels=np.unique(y_true), average=None, zero_division=0)


def balanced_accuracy(recalls: np.ndarray) -> float:
    """bACC: mean of the classes' recalls."""
    return float(np.mean(recalls))


def geometric_mean(recalls: np.ndarray) -> float:
    """GM: geometric mean of the classes' recalls; a recall of zero counts as ``1 / (100 C)``."""
    floored = np.where(recalls == 0, 1 / (100 * len(recalls)), recalls)
    return float(np.exp(np.mean(np.log(floored))))


def oracle_gap_closed(score: float, supervised: float, oracle: float) -> float:
    """Share of the way from labelled rows only (0) to all true labels (1); nan where the two ends are equal."""
    return (score - supervised) / (oracle - supervised) if oracle != supervised else float("nan")


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Distance between two distributions over the same classes, 0 to 1."""
    return float(np.abs(np.asarray(p) - np.asarray(q)).sum() / 2)
