"""What a swappable part has to offer.

The protocols are structural: an object fits when it has the methods, whether or not it has heard of this package.
:mod:`skdmlpl.checks` tests a part against its protocol.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

__all__ = [
    "Augmentation",
    "BackboneFactory",
    "MetricLoss",
    "NeighborIndex",
    "PseudoLabels",
    "RoundRecord",
    "Selector",
    "StopReason",
]

#: Builds a network for inputs of shape ``input_shape`` (without the batch axis): ``(n_features,)`` or
#: ``(channels, height, width)``. The network maps ``(batch, *input_shape)`` float32 to ``(batch, d)``, for any ``d``.
#: A ready ``nn.Module`` may be given in its place; it is copied, never trained in place. A network with a method
#: ``adapt(batches)`` is handed all training inputs once, batch by batch, before training: the place to learn
#: unsupervised statistics such as column means.
BackboneFactory = Callable[[tuple[int, ...]], nn.Module]

#: Returns a randomly altered copy of a batch ``(batch, *input_shape)`` of a floating dtype, drawing only from
#: ``generator``. The input is not modified. Shape, dtype and device are kept.
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


@runtime_checkable
class MetricLoss(Protocol):
    """A loss on distances between embeddings.

    Every label-based loss of pytorch-metric-learning without parameters of its own fits.

    Called with ``embeddings`` (b, d), float, and ``labels`` (b,), int64: rows of equal label are to be close, rows of
    different label far apart. Returns a scalar with a gradient; a batch with nothing to compare gives 0 that still
    belongs to the graph. Rows without a label arrive as two views that share an id no class uses.
    """

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor: ...


class PseudoLabels(NamedTuple):
    """What a selector returns, for all rows.

    Attributes
    ----------
    labels : ndarray of shape (n_samples,), int
        Class index of each row; -1 leaves the row out of this round.
    weights : ndarray of shape (n_samples,), float
        Reliability in [0, 1]: how much the row counts in training, and its rank among the rows of its class.
    """

    labels: np.ndarray
    weights: np.ndarray


@runtime_checkable
class Selector(Protocol):
    """Gives labels to the unlabelled rows. A plain function of the same three arguments is a selector too."""

    def select(self, embeddings: np.ndarray, y: np.ndarray, proba: np.ndarray) -> PseudoLabels:
        """Label all rows.

        Parameters
        ----------
        embeddings : ndarray of shape (n_samples, d), float32
            Unit-length embeddings of all rows.
        y : ndarray of shape (n_samples,), int
            Class index 0 .. n_classes - 1 of the rows labelled by the user, -1 elsewhere. Every class occurs.
        proba : ndarray of shape (n_samples, n_classes), float32
            The network's probabilities, under the estimated class distribution of the unlabelled rows.

        Returns
        -------
        PseudoLabels
            Labels and weights of all rows. What it says of rows labelled by the user is not used.
        """
        ...


@runtime_checkable
class NeighborIndex(Protocol):
    """A nearest-neighbour index; :class:`sklearn.neighbors.NearestNeighbors` fits."""

    def fit(self, X: np.ndarray) -> object: ...

    def kneighbors(self, X: np.ndarray, n_neighbors: int) -> tuple[np.ndarray, np.ndarray]:
        """Return Euclidean distances and indices, both (len(X), n_neighbors), nearest first."""
        ...


class StopReason(enum.StrEnum):
    """Why the rounds ended."""

    ALL_LABELED = "all_labeled"
    CALLBACK = "callback"
    MAX_ROUNDS = "max_rounds"
    NO_UNLABELED = "no_unlabeled"

    @property
    def sentence(self) -> str:
        return {
            "all_labeled": "Every unlabelled row has a pseudo-label.",
            "callback": "A callback stopped the rounds before every unlabelled row had a pseudo-label.",
            "max_rounds": "The last round was reached before every unlabelled row had a pseudo-label.",
            "no_unlabeled": "There were no unlabelled rows.",
        }[self.value]


@dataclass(frozen=True)
class RoundRecord:
    """What one round did. Round 0 trains on the given labels alone.

    Attributes
    ----------
    round : int
        Number of the round.
    pseudo_labels : PseudoLabels
        Class indices and weights of the unlabelled rows, in their order, that the round trained with; -1 marks rows
        that had none yet.
    prior : ndarray of shape (n_classes,), float
        Class distribution of the unlabelled rows, as estimated for these pseudo-labels.
    metric_loss, classification_loss : float
        Mean training loss of each stage's last steps; nan where the stage did not run.
    seconds : float
        Wall time.
    """

    round: int
    pseudo_labels: PseudoLabels
    prior: np.ndarray
    metric_loss: float
    classification_loss: float
    seconds: float

    @property
    def n_pseudo_labeled(self) -> int:
        """Unlabelled rows that had a pseudo-label."""
        return int(np.count_nonzero(self.pseudo_labels.labels >= 0))

    @property
    def class_counts(self) -> np.ndarray:
        """Pseudo-labels per class, shape (n_classes,)."""
        labels = self.pseudo_labels.labels
        return np.bincount(labels[labels >= 0], minlength=len(self.prior))

    @property
    def mean_weight(self) -> float:
        """Mean reliability of the pseudo-labels; nan where there are none."""
        chosen = self.pseudo_labels.labels >= 0
        return float(self.pseudo_labels.weights[chosen].mean()) if chosen.any() else float("nan")
