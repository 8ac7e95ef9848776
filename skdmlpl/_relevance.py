"""How much each column of a table tells of the classes."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["relevance"]

# What columns count that tell nothing as far as is known: they may together with others.
_LEAST = 1e-3
# And those that leave no doubt.
_MOST = 5.0


def relevance(batches: Iterable[tuple[Tensor, Tensor]], n_classes: int) -> Tensor:
    r"""Return the ratio of signal to noise in each column: of the variance between classes to that within them.

    The share of a column's variance that classes explain is estimated by :math:`\epsilon^2` [1]_, which chance does not
    raise as it does the ratio itself where classes have few rows; the ratio is :math:`\epsilon^2 / (1 - \epsilon^2)`.
    This is :math:`(F - 1) (k - 1) / (n - 1)` of the F statistic of ``n`` rows of ``k`` classes, for which
    :func:`sklearn.feature_selection.f_classif` would need a copy of all rows. Columns may also tell classes by how far
    from the middle they are, so the same is done for their squares, and the larger ratio counts. Distances where each
    column has this weight are those of [2]_, for each column by itself.

    Parameters
    ----------
    batches : iterable of (Tensor of shape (b, n_features), Tensor of shape (b,), int)
        Labelled rows, standardised, and their class indices.
    n_classes : int
        Number of classes.

    Returns
    -------
    Tensor of shape (n_features,), float64
        From 0.001 to 5, on the CPU.

    References
    ----------
    .. [1] Kelley, "An unbiased correlation ratio measure", PNAS 21 (1935), :doi:`10.1073/pnas.21.9.554`.
    .. [2] Hastie, Tibshirani, "Discriminant adaptive nearest neighbor classification", IEEE Transactions on Pattern
       Analysis and Machine Intelligence 18 (1996), :doi:`10.1109/34.506411`.
    """
    counts = torch.zeros(n_classes, dtype=torch.float64)
    sums = squares = torch.zeros((), dtype=torch.float64)
    for rows, y in batches:
        rows, y = rows.to("cpu", torch.float64), y.to("cpu")
        both = torch.cat([rows, rows.square()], dim=1)
        members = F.one_hot(y, n_classes).double()
        counts = counts + members.sum(dim=0)
        sums = sums + members.T @ both
        squares = squares + both.square().sum(dim=0)
    n_rows, n_told = counts.sum(), (counts > 0).sum()
    total = squares - sums.sum(dim=0).square() / n_rows
    within = (squares - (sums.square() / counts.clamp(min=1)[:, None]).sum(dim=0)).clamp(min=0)
    # Mean squares: what chance alone leaves within classes is the less the more classes there are.
    noise = (within / (n_rows - n_told)) / (total / (n_rows - 1))
    noise = torch.where(total > 1e-9 * squares, noise, 1.0).nan_to_num(nan=1.0, posinf=1.0)
    signal = (1 - noise).clamp(min=0)
    return (signal / noise).clamp(_LEAST, _MOST).view(2, -1).amax(dim=0)
