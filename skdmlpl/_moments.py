"""Statistics of the columns of rows that come in batches."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Moments", "moments"]


class Moments(NamedTuple):
    """Statistics of each column or channel.

    Attributes
    ----------
    mean, std, low, high : Tensor of shape (n,)
        Mean, standard deviation, minimum and maximum over all rows and, of images, all positions; float64, on the CPU:
        squares of float32 may overflow, and not every device has float64.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor


def moments(batches: Iterable[Tensor]) -> Moments:
    """Return mean, standard deviation, minimum and maximum of each column or channel.

    Parameters
    ----------
    batches : iterable of Tensor of shape (b, n, ...)
        Rows of a table, or images. Empty batches are passed over.

    Returns
    -------
    Moments
        Of all batches together.

    Raises
    ------
    ValueError
        If there is no row.

    References
    ----------
    .. [1] Chan, Golub, LeVeque, "Algorithms for computing the sample variance", The American Statistician 37 (1983),
       :doi:`10.1080/00031305.1983.10483115`: batches are put together without a difference of large squares.
    """
    count = 0
    mean = squares = torch.zeros((), dtype=torch.float64)
    low, high = torch.tensor(torch.inf, dtype=torch.float64), torch.tensor(-torch.inf, dtype=torch.float64)
    for batch in batches:
        if len(batch) == 0:
            continue
        rows = batch.to("cpu", torch.float64)
        dims = (0, *range(2, rows.ndim))
        n_here = rows.numel() // rows.shape[1]
        total = count + n_here
        delta = rows.mean(dims) - mean
        squares = squares + (rows.var(dims, correction=0) * n_here + delta.square() * (count * n_here / total))
        mean = mean + delta * (n_here / total)
        low, high = torch.minimum(low, rows.amin(dims)), torch.maximum(high, rows.amax(dims))
        count = total
    if count == 0:
        raise ValueError("adapt needs at least one row. Got none.")
    return Moments(mean, (squares / count).sqrt(), low, high)
