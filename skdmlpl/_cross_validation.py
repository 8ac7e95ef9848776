"""Chooses how to train by labelled rows that are held out."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from skdmlpl._folds import deal_out, testable_rows
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
        Of equally good ones, the first is returned. Of one alone, or with fewer rows to hold out than folds, nothing is
        tried.
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
    testable = testable_rows(y)
    if len(plans) == 1 or len(testable) < _N_FOLDS:
        return plans[0]
    shuffled = testable[torch.randperm(len(testable), generator=generator).numpy()]
    folds, sizes = deal_out(shuffled, y, _N_FOLDS), np.bincount(y[testable])
    totals = np.zeros(len(plans))
    for number in range(_N_FOLDS):
        held_out = np.flatnonzero(folds == number)
        known, truth = np.where(folds == number, -1, y), y[held_out]
        for i, plan in enumerate(plans):
            logits = torch.from_numpy(fit_and_classify(plan, known, held_out))
            losses = F.cross_entropy(logits, torch.from_numpy(truth), reduction="none").numpy()
            totals[i] += (losses / sizes[truth]).sum()
    return plans[np.nan_to_num(totals, nan=np.inf).argmin()]
