"""The network for tables; public as :func:`skdmlpl.backbones.mlp`."""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdmlpl._moments import moments
from skdmlpl._normal_scores import NormalScores, RowSample
from skdmlpl._relevance import relevance

__all__ = ["MANY_COLUMNS", "mlp"]

# With this many columns or more a row is taken as one feature vector (an embedding, pixels, counts) whose direction
# matters, with fewer as measurements that each matter by themselves.
MANY_COLUMNS = 50
# Columns of one feature vector share a unit: their spreads, but for the outer tenths, lie within this factor.
_LIKE_SPREADS = 30.0
_N_FREQUENCIES = 16
_EMBEDDING_PER_COLUMN = 8
_FREQUENCY_SCALE = 0.3
# Share of the columns of an endlessly wide row that training leaves out.
_INPUT_DROPOUT = 0.3
# Weight of the row itself beside what the layers make of it. Mean recall on 64 principal components of image features:
# 68.8 % with it and without, against 62.6 % where a linear function of the row is added to the layers' output instead.
_SKIP_SCALE = 1 / 12
# Standardised values beyond this are outliers, and squashed.
_CLIP = 3.0
# A column that is the same for all rows, through which the direction of the others tells of their length: the fewer
# there are, the more it counts.
_LIFT = 6.0
# What a row counts where neighbours are looked for, beside its features, which count 1.
_ROW_WEIGHT = 2.0


def mlp(
    input_shape: tuple[int, ...],
    *,
    hidden: int = 256,
    depth: int = 2,
    embedding_dim: int = 128,
    dropout: float = 0.1,
) -> nn.Module:
    """Build a multilayer perceptron for tables, made for few labelled rows.

    It standardises its input by the means and standard deviations learned from all training rows, and squashes outliers
    smoothly [1]_. Columns with long tails (a standard deviation of more than three times half the distance between the
    quantiles of 16 % and 84 %) are mapped to the quantiles of a normal distribution instead [3]_. The labelled rows
    tell how much of each column is signal and how much noise, and its spread is made to follow (as in discriminant
    adaptive metrics [4]_), so that a few telling columns do not drown among many others. Up to 49 columns, every value
    is also passed through sines and cosines of learned frequencies, which lets a small network bend sharply along
    single columns [2]_; columns with two values, such as those that categories are encoded in, go without. With more
    columns, rows are scaled to equal length instead, as the direction of a long feature vector says more than its
    length; where the columns are of like spread, as those of an embedding or of pixels are, they are divided by one
    number for all but a few far larger ones, so that columns which hardly vary do not gain weight, and tails are left
    alone; the more columns there are, the more of them are left out at random in training, as they repeat each other;
    and the row itself is part of the output, so that classes which a linear function tells apart need no hidden layer,
    and rows that were close stay close.

    Parameters
    ----------
    input_shape : tuple of int, (n_features,)
        Shape of one row.
    hidden : int, default=256
        Width of the hidden layers. Wider costs time in proportion.
    depth : int, default=2
        Number of hidden layers.
    embedding_dim : int, default=128
        Width of the output, without the row itself.
    dropout : float, default=0.1
        Share of hidden units left out at random in training; more of it regularises more.

    Returns
    -------
    nn.Module
        Maps rows (b, n_features), floating, to features (b, embedding_dim), or (b, embedding_dim + n_features) from
        50 columns on. It computes its standardisation in float64, so that columns of large values and small differences
        (dates, say) keep their digits.

    Raises
    ------
    ValueError
        If `input_shape` is not the shape of a row of a table.

    References
    ----------
    .. [1] Holzmüller, Grinsztajn, Steinwart (2024). "Better by default: strong pre-tuned MLPs and boosted trees on
       tabular data". :arxiv:`2407.04491`.
    .. [2] Gorishniy, Rubachev, Babenko (2022). "On embeddings for numerical features in tabular deep learning".
       :arxiv:`2203.05556`.
    .. [3] Gorishniy, Rubachev, Khrulkov, Babenko (2021). "Revisiting deep learning models for tabular data".
       :arxiv:`2106.11959`.
    .. [4] Hastie, Tibshirani (1996). "Discriminant adaptive nearest neighbor classification".
       :doi:`10.1109/34.506411`.

    Examples
    --------
    >>> import torch
    >>> from skdmlpl.backbones import mlp
    >>> network = mlp((16,))
    >>> network(torch.rand(8, 16)).shape
    torch.Size([8, 128])
    """
    if len(input_shape) != 1:
        raise ValueError(f"mlp needs tables, an input_shape of (n_features,). Got {tuple(input_shape)} instead.")
    (n_features,) = input_shape
    is_vector = n_features >= MANY_COLUMNS
    first: nn.Module
    if is_vector:
        first, width = nn.Dropout(_INPUT_DROPOUT * (1 - MANY_COLUMNS / n_features)), n_features
    else:
        first, width = _PeriodicEmbedding(n_features), n_features * (1 + _EMBEDDING_PER_COLUMN)
    layers: list[nn.Module] = [first]
    for _ in range(depth):
        layers += [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout)]
        width = hidden
    network = nn.Sequential(*layers, nn.Linear(width, embedding_dim))
    return _StandardizedTable(n_features, _BesideItself(network) if is_vector else network)


class _StandardizedTable(nn.Module):
    """A network behind a standardisation learned from the training rows, after which columns count by what they tell.

    A network that starts from small weights and decays them learns first, and most, from columns of large spread; and
    neighbours are rows that are alike in these.
    """

    #: Dtype the rows are wanted in; the network behind gets them in the dtype of its weights.
    input_dtype = torch.float64

    mean: Tensor
    scale: Tensor
    amplitude: Tensor

    def __init__(self, n_features: int, network: nn.Module) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(n_features, dtype=torch.float64))
        self.normal_scores = NormalScores()
        self.register_buffer("amplitude", torch.ones(n_features))
        self.network = network

    @torch.no_grad()
    def adapt(self, batches: Iterable[Tensor]) -> None:
        """Learn each column's mean and spread, and whether it has two values, from all batches (b, n_features)."""
        sample = RowSample(len(self.mean))
        mean, std, low, high = moments(map(sample.add, batches))
        # Two values, and no others within the same limits, have the largest spread for their mean: the inequality of
        # Bhatia and Davis, The American Mathematical Monthly 107 (2000), doi:10.1080/00029890.2000.12005203.
        bends = std.square() < (1 - 1e-6) * (high - mean) * (mean - low)
        for part in self.network.modules():
            if isinstance(part, _PeriodicEmbedding):
                part.bends.copy_(bends)
        # A column that is constant but for rounding says nothing, and is left out.
        varies = std > 1e-14 * mean.abs()
        own_units = True  # each column has its own
        if len(std) >= MANY_COLUMNS and varies.any():
            low, high = std[varies].quantile(torch.tensor([0.1, 0.9], dtype=std.dtype))
            own_units = high > _LIKE_SPREADS * low
            if not own_units:
                # A few columns of another unit, as numbers beside categories, would drown the rest.
                strange = std > _LIKE_SPREADS * low
                std = torch.where(strange, std, std[varies & ~strange].square().mean().sqrt())
        if own_units:
            self.normal_scores.adapt(sample.rows, torch.where(varies, std, 0.0))
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(varies, 1 / std, 0.0).nan_to_num(posinf=0.0))

    @torch.no_grad()
    def adapt_to_labels(self, batches: Iterable[tuple[Tensor, Tensor]], n_classes: int) -> None:
        """Learn what each column counts from all labelled rows (b, n_features) and their class indices (b,)."""
        weights = relevance(((self._standardize(rows), y) for rows, y in batches), n_classes)
        self.amplitude.copy_((weights / weights.mean()).sqrt())

    def forward(self, rows: Tensor) -> Tensor:
        return self.network(self.amplitude * self._standardize(rows))

    def neighbor_features(self, features: Tensor, rows: Tensor) -> Tensor:
        """Return what neighbours of rows (b, n_features) are looked for by: their features, and beside them the row.

        What a network has not been taught it forgets, and its mistakes look sure of themselves; rows as they came know
        nothing of the labels, and see what it does not [1]_.

        References
        ----------
        .. [1] Blum, Mitchell, "Combining labeled and unlabeled data with co-training", COLT 1998,
           :doi:`10.1145/279943.279962`.
        """
        if isinstance(self.network, _BesideItself):
            features, row = features.tensor_split([-len(self.mean)], dim=1)
        else:
            row = F.pad(self.amplitude * self._standardize(rows), (0, 1), value=_LIFT)
        return torch.cat([F.normalize(features), math.sqrt(_ROW_WEIGHT) * F.normalize(row)], dim=1)

    def _standardize(self, rows: Tensor) -> Tensor:
        rows = rows.to(self.mean.dtype)
        standardized = self.normal_scores(rows, (rows - self.mean) * self.scale)
        standardized = standardized.to(next(self.network.parameters()).dtype)
        return standardized / (1 + (standardized / _CLIP).square()).sqrt()


class _PeriodicEmbedding(nn.Module):
    """Each value, followed by a few rectified mixtures of its sines and cosines; of columns with two values, zeros.

    What bends through two points is a line, and many such columns, as of categories, would fill the network with
    copies of themselves.
    """

    bends: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("bends", torch.ones(n_features))
        self.frequencies = nn.Parameter(_FREQUENCY_SCALE * torch.randn(n_features, _N_FREQUENCIES))
        self.mix = nn.Linear(1 + 2 * _N_FREQUENCIES, _EMBEDDING_PER_COLUMN)

    def forward(self, rows: Tensor) -> Tensor:
        phases = 2 * math.pi * self.frequencies * rows[..., None]  # (b, n_features, n_frequencies)
        waves = torch.cat([rows[..., None], phases.sin(), phases.cos()], dim=-1)
        return torch.cat([rows, (self.bends[:, None] * self.mix(waves).relu()).flatten(1)], dim=1)


class _BesideItself(nn.Module):
    """A network's output beside its input, which is scaled to the length of a standard normal vector first."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, rows: Tensor) -> Tensor:
        rows = F.normalize(rows) * math.sqrt(rows.shape[1])
        return torch.cat([self.network(rows), _SKIP_SCALE * rows], dim=1)
