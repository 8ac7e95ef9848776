"""Long-tailed columns on a normal scale: incomes, counts or durations, a few of which are far from all others."""

from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["NormalScores", "RowSample"]

# A tail is long where the standard deviation is so many times half the distance between the quantiles that hold 68 % of
# the values, which for a normal distribution is one.
_LONG = 3.0
_CORE = NormalDist().cdf(-1), NormalDist().cdf(1)
_N_KNOTS = 100
# Quantiles are taken of so many rows at most, and of so many numbers.
_MOST_ROWS = 2_000
_MOST_NUMBERS = 2**21


class RowSample:
    """Rows drawn at random from batches as they pass."""

    def __init__(self, n_features: int) -> None:
        self.size = min(_MOST_ROWS, max(_N_KNOTS, _MOST_NUMBERS // n_features))
        self.rows = torch.empty(0, n_features, dtype=torch.float64)
        self._keys = torch.empty(0)
        self._generator = torch.Generator().manual_seed(0)  # no other draw may depend on this one

    def add(self, batch: Tensor) -> Tensor:
        """Have rows (b, n_features) take part; return them."""
        keys = torch.rand(len(batch), generator=self._generator)
        # The rows with the lowest keys stay, so once there are enough, few of a batch come into question.
        new = keys < (self._keys.max() if len(self._keys) == self.size else 1)
        rows = torch.cat([self.rows, batch.to("cpu")[new].double()])
        keys = torch.cat([self._keys, keys[new]])
        kept = keys.topk(min(self.size, len(keys)), largest=False).indices
        self.rows, self._keys = rows[kept], keys[kept]
        return batch


class NormalScores(nn.Module):
    """Maps the values of long-tailed columns to the quantiles of a standard normal distribution, and leaves the others.

    Between quantiles the map is linear, and constant beyond the outermost. Networks learn from such columns as they
    learn from others, which standardised they do not: all values but a few come to lie in one place [1]_.

    References
    ----------
    .. [1] Gorishniy, Rubachev, Khrulkov, Babenko (2021). "Revisiting deep learning models for tabular data".
       :arxiv:`2106.11959`.
    """

    columns: Tensor
    knots: Tensor
    scores: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("columns", torch.empty(0, dtype=torch.int64))
        self.register_buffer("knots", torch.empty(0, _N_KNOTS, dtype=torch.float64))
        self.register_buffer("scores", torch.empty(0, _N_KNOTS, dtype=torch.float64))

    def adapt(self, rows: Tensor, std: Tensor) -> None:
        """Learn from some rows, and the standard deviations of all, which columns have long tails, and how long."""
        values = rows.numpy()
        low, high = np.quantile(values, _CORE, axis=0)
        spread = torch.from_numpy((high - low) / 2)
        columns = torch.nonzero((spread > 0) & (std > _LONG * spread)).ravel()
        levels = (np.arange(_N_KNOTS) + 0.5) / _N_KNOTS
        normal = np.array([NormalDist().inv_cdf(level) for level in levels])
        knots = np.quantile(values[:, columns.numpy()], levels, axis=0).T
        scores = np.empty_like(knots)
        for own, out in zip(knots, scores, strict=True):
            _, tie, size = np.unique(own, return_inverse=True, return_counts=True)
            out[:] = (np.bincount(tie, normal) / size)[tie]  # equal values have one score, the mean of their places
        device = self.columns.device
        self.columns = columns.to(device)
        self.knots, self.scores = (torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in (knots, scores))

    def forward(self, rows: Tensor, others: Tensor) -> Tensor:
        """Return ``others`` (b, n_features) with the scores of these columns' values in ``rows`` in their places."""
        if len(self.columns) == 0:
            return others
        values = rows[:, self.columns].T.contiguous()
        right = torch.searchsorted(self.knots, values).clamp(1, _N_KNOTS - 1)
        left = right - 1
        start, end = self.knots.gather(1, left), self.knots.gather(1, right)
        low, high = self.scores.gather(1, left), self.scores.gather(1, right)
        share = ((values - start) / (end - start)).nan_to_num(nan=1.0).clamp(0, 1)
        return others.index_copy(1, self.columns, (low + share * (high - low)).T)
