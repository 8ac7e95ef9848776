"""Random batches of row numbers, drawn from an explicit generator."""

from collections.abc import Callable

import numpy as np
import torch

__all__ = ["class_balanced_weights", "weighted_sampler"]


def weighted_sampler(weights: np.ndarray, batch_size: int, generator: torch.Generator) -> Callable[[], np.ndarray]:
    """Return a function that draws rows with replacement, in proportion to their weights.

    Parameters
    ----------
    weights : ndarray of shape (n_samples,), float
        Not negative; rows of weight 0 are never drawn.
    batch_size : int
        Rows per draw.
    generator : torch.Generator
        Source of all draws, on the CPU.

    Returns
    -------
    callable
        Without arguments; returns an ndarray of shape (batch_size,), int64.

    Raises
    ------
    ValueError
        If no weight is positive.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skdmlpl.samplers import weighted_sampler
    >>> draw = weighted_sampler(np.array([0.0, 1.0, 0.0]), 4, torch.Generator().manual_seed(0))
    >>> draw()
    array([1, 1, 1, 1])
    """
    candidates = np.flatnonzero(weights > 0)
    if len(candidates) == 0:
        raise ValueError("weighted_sampler needs at least one positive weight. Got none.")
    # Cumulative in float64: a draw costs a binary search a row, whatever the number of rows.
    cumulative = torch.from_numpy(np.cumsum(weights[candidates], dtype=np.float64))

    def draw() -> np.ndarray:
        uniform = torch.rand(batch_size, generator=generator, dtype=torch.float64)
        position = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)
        return candidates[position.clamp_(max=len(candidates) - 1).numpy()]

    return draw


def class_balanced_weights(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rescale row weights so that every class that has any weighs the same.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,), int
        Class index of each row; rows of -1 get weight 0.
    weights : ndarray of shape (n_samples,), float
        Weights within the class, not negative.

    Returns
    -------
    ndarray of shape (n_samples,), float64
        They sum to 1 over each class with a positive weight.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmlpl.samplers import class_balanced_weights
    >>> class_balanced_weights(np.array([0, 0, 1, -1]), np.array([1.0, 3.0, 0.5, 1.0]))
    array([0.25, 0.75, 1.  , 0.  ])
    """
    labeled = labels >= 0
    totals = np.bincount(labels[labeled], weights=weights[labeled])
    balanced = np.zeros(len(labels))
    balanced[labeled] = weights[labeled] / np.maximum(totals, np.finfo(float).tiny)[labels[labeled]]
    return balanced
