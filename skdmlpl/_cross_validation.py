"""Chooses how to train by labelled rows that are held out."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from skdmlpl._rounds import Plan

__all__ = ["choose_plan"]

_N_FOLDS = 3


def choose_plan(
    plans: Sequence[Plan],
    y: np.ndarray,
    fit_and_classify: Callable[[Plan, np.ndarray, np.ndarray], np.ndarray],
    generator: torch.Generator,
) -> Plan:
    """Return the plan that tells held-out labelled rows best, each class counting the same.

    The rows of each fold are told by what was trained on all others: K-fold cross-validation [1]_. They are compared
    by cross-entropy, which says more of the few rows of a rare class than how many were told right.

    Parameters
    ----------
    plans : sequence of Plan
        Of equally good ones, the first is returned. Of one alone, nothing is tried.
    y : ndarray of shape (n_samples,), int
        Class indices, -1 on unlabelled rows.
    fit_and_classify : callable
        From a plan, labels to train on (n_samples,), and the indices of the held-out rows (n,), to logits
        (n, n_classes).
    generator : torch.Generator
        Deals out the folds.

    References
    ----------
    .. [1] Stone, "Cross-validatory choice and assessment of statistical predictions", Journal of the Royal Statistical
       Society B 36 (1974), :doi:`10.1111/j.2517-6161.1974.tb00994.x`.
    """
    folds = _deal(y, generator)
    tested = np.flatnonzero(folds >= 0)
    if len(plans) == 1 or len(tested) == 0:
        return plans[0]
    losses = np.zeros((len(plans), len(y)))
    for number in np.unique(folds[tested]):
        held_out = np.flatnonzero(folds == number)
        known, truth = np.where(folds == number, -1, y), torch.from_numpy(y[held_out])
        for plan, loss in zip(plans, losses, strict=True):
            logits = torch.from_numpy(fit_and_classify(plan, known, held_out))
            loss[held_out] = F.cross_entropy(logits, truth, reduction="none").numpy()
    weights = 1 / np.bincount(y[tested])[y[tested]]
    return plans[np.argmin(losses[:, tested] @ weights)]


def _deal(y: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Deal out the labelled rows of each class in turn, at random: each row's fold (n_samples,).

    It is -1 for rows in no fold, which are never held out: unlabelled ones, and the only one of a class, as nobody can
    tell a class never seen. scikit-learn's StratifiedKFold holds that one out too, with a warning, and refuses classes
    that are all smaller than the number of folds.
    """
    labeled = np.flatnonzero(y >= 0)
    repeated = labeled[np.bincount(y[labeled])[y[labeled]] > 1]
    shuffled = repeated[torch.randperm(len(repeated), generator=generator).numpy()]
    folds = np.full(len(y), -1)
    folds[shuffled[y[shuffled].argsort(kind="stable")]] = np.arange(len(shuffled)) % _N_FOLDS
    return folds
