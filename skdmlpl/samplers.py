"""Random batches of row numbers, drawn from an explicit generator."""

import math
from collections.abc import Callable

import numpy as np
import torch

__all__ = ["class_balanced_weights", "weighted_sampler"]


def weighted_sampler(
    weights: np.ndarray, batch_size: int, generator: torch.Generator, labels: np.ndarray | None = None
) -> Callable[[], np.ndarray]:
    """Return a function that draws rows in proportion to their weights, as evenly as whole numbers allow.

    Rows come in passes of as many batches as it takes to hold them all. In a pass a row comes as often as its weight
    says, rounded up or down, and every batch takes one row of each of ``batch_size`` strata of equal weight, which
    follow the classes: a class has its share of each batch, to within less than two rows. The gradients of such batches
    vary less than those of rows drawn independently [1]_, most of all where a class is so rare that many batches would
    miss it.

    Parameters
    ----------
    weights : ndarray of shape (n_samples,), float
        Not negative; rows of weight 0 are never drawn.
    batch_size : int
        Rows per draw.
    generator : torch.Generator
        Source of all draws, on the CPU.
    labels : ndarray of shape (n_samples,), int, default=None
        Class index of each row, to keep the classes' shares of a batch even. None takes all rows for one class.

    Returns
    -------
    callable
        Without arguments; returns an ndarray of shape (batch_size,), int64.

    Raises
    ------
    ValueError
        If no weight is positive.

    References
    ----------
    .. [1] Zhao, Zhang, "Accelerating minibatch stochastic gradient descent using stratified sampling", 2014,
       :arxiv:`1405.3080`.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skdmlpl.samplers import weighted_sampler
    >>> draw = weighted_sampler(np.array([0.0, 1.0, 0.0, 3.0]), 4, torch.Generator().manual_seed(0))
    >>> sorted(draw().tolist())
    [1, 3, 3, 3]
    """
    candidates = np.flatnonzero(weights > 0)
    if len(candidates) == 0:
        raise ValueError("weighted_sampler needs at least one positive weight. Got none.")
    # Copies, so that later changes of the arguments do not count; in float64, as sums of many weights are long numbers.
    mass = torch.from_numpy(weights[candidates].astype(np.float64))
    classes = torch.zeros(len(candidates)) if labels is None else torch.from_numpy(labels[candidates])
    n_batches = math.ceil(len(candidates) / batch_size)
    batches: list[np.ndarray] = []

    def one_pass() -> list[np.ndarray]:
        order = torch.randperm(len(candidates), generator=generator)
        order = order[classes[order].argsort(stable=True)]
        cumulative = mass[order].cumsum(0)
        # Equally spaced points from a random start meet a row as often as its weight says.
        points = torch.arange(n_batches * batch_size, dtype=torch.float64)
        points += torch.rand(1, generator=generator, dtype=torch.float64)
        position = torch.searchsorted(cumulative, points * (cumulative[-1] / len(points)), right=True)
        strata = order[position.clamp_(max=len(order) - 1)].view(batch_size, n_batches)
        turns = torch.rand(batch_size, n_batches, generator=generator).argsort(dim=1)
        return list(candidates[strata.gather(1, turns).T.contiguous().numpy()])

    def draw() -> np.ndarray:
        if not batches:
            batches.extend(one_pass())
        return batches.pop()

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
