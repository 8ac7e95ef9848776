"""What a swappable part has to offer.

The protocols are structural: an object fits when it has the methods, whether or not it has heard of this package.
:mod:`skdmlpl.checks` tests a part against its protocol.
"""

import enum
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


@runtime_checkable
class BackboneFactory(Protocol):
    """Builds a network that makes feature vectors of rows. A function of one argument is one, and so is a class.

    A ready ``nn.Module`` may be given in its place; it is copied, never trained in place. A network with a method
    ``adapt(batches)`` is handed all training inputs once, batch by batch, before training: the place to learn
    unsupervised statistics such as column means. One with a method ``adapt_to_labels(batches, n_classes)`` is handed
    the labelled rows after that, in pairs of a batch ``(b, *input_shape)`` and its class indices ``(b,)``, int64: the
    place to learn a few numbers from labels, such as how much each column counts. One with a method
    ``neighbor_features(features, rows)`` says by what the neighbours of rows are looked for: it gets ``(b, d)``, its
    output on these rows shifted and scaled, and returns ``(b, k)``, of which the direction counts. Without it, the
    features alone are compared. The class distribution of the unlabelled rows is estimated by the same neighbours,
    before training, so the rows should be part of what it returns.

    Examples
    --------
    >>> import torch
    >>> from skdmlpl.interfaces import BackboneFactory
    >>> def two_layers(input_shape):
    ...     return torch.nn.Sequential(torch.nn.Linear(input_shape[0], 64), torch.nn.ReLU(), torch.nn.Linear(64, 16))
    >>> isinstance(two_layers, BackboneFactory)
    True
    >>> two_layers((8,))(torch.zeros(5, 8)).shape
    torch.Size([5, 16])
    """

    def __call__(self, input_shape: tuple[int, ...], /) -> nn.Module:
        """Build a network.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of one row: ``(n_features,)`` or ``(channels, height, width)``.

        Returns
        -------
        nn.Module
            Maps ``(b, *input_shape)``, float32, to ``(b, d)``, for any ``d``. An attribute ``input_dtype`` of the
            module asks for rows of another dtype, say ``torch.float64``.
        """
        ...


@runtime_checkable
class Augmentation(Protocol):
    """Alters rows at random. A plain function of the same two arguments is an augmentation too.

    Examples
    --------
    >>> import torch
    >>> from skdmlpl.interfaces import Augmentation
    >>> def add_noise(batch, generator):
    ...     return batch + 0.1 * torch.randn(batch.shape, generator=generator).to(batch)
    >>> isinstance(add_noise, Augmentation)
    True
    >>> add_noise(torch.zeros(5, 8), torch.Generator()).shape
    torch.Size([5, 8])
    """

    def __call__(self, batch: Tensor, generator: torch.Generator, /) -> Tensor:
        """Return an altered copy of a batch.

        Parameters
        ----------
        batch : Tensor of shape (b, ...), any floating dtype
            Rows of a table or images; they are not to be modified.
        generator : torch.Generator
            All random numbers come from it, or a fit would not repeat. It lives on the CPU.

        Returns
        -------
        Tensor of shape (b, ...)
            The altered rows, of the shape, the dtype and on the device of the batch.
        """
        ...


@runtime_checkable
class MetricLoss(Protocol):
    """A loss on distances between embeddings.

    Every label-based loss of pytorch-metric-learning without parameters of its own fits.

    Examples
    --------
    >>> import torch
    >>> from skdmlpl.interfaces import MetricLoss
    >>> def spread_within_classes(embeddings, labels):
    ...     same = labels[:, None] == labels  # (b, b)
    ...     return (torch.cdist(embeddings, embeddings) * same).sum() / same.sum()
    >>> isinstance(spread_within_classes, MetricLoss)
    True
    >>> spread_within_classes(torch.eye(3), torch.tensor([0, 1, 1]))
    tensor(0.5657)
    """

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        embeddings : Tensor of shape (b, d), float
            Embeddings of the rows.
        labels : Tensor of shape (b,), int64
            Rows of equal label are to be close, rows of different label far apart. Rows of tables without a label come
            as two views that share an id no class uses. Images come mixed in pairs, each with the label, given or
            proposed, of the one that makes up most of it.

        Returns
        -------
        Tensor of shape ()
            The loss, with a gradient. A batch with nothing to compare gives 0 that still belongs to the graph.
        """
        ...


class PseudoLabels(NamedTuple):
    """What a selector returns, for all rows.

    Attributes
    ----------
    labels : ndarray of shape (n_samples,), int
        Class index of each row; -1 leaves the row out of this round.
    weights : ndarray of shape (n_samples,), float
        Reliability in [0, 1]: how much the row counts in training, and its rank among the rows of its class.
    proba : ndarray of shape (n_samples, n_classes), float, or None, default=None
        Class probabilities that training aims at in place of the label alone: a row between two classes then says so.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmlpl.interfaces import PseudoLabels
    >>> chosen = PseudoLabels(labels=np.array([1, -1, 0]), weights=np.array([0.9, 0.0, 0.4]))
    >>> chosen.labels >= 0
    array([ True, False,  True])
    """

    labels: np.ndarray
    weights: np.ndarray
    proba: np.ndarray | None = None


@runtime_checkable
class Selector(Protocol):
    """Gives labels to the unlabelled rows. A plain function of the same three arguments is a selector too.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmlpl.interfaces import PseudoLabels, Selector
    >>> class MostProbable:
    ...     def select(self, embeddings, y, proba):
    ...         return PseudoLabels(proba.argmax(axis=1), proba.max(axis=1))
    >>> isinstance(MostProbable(), Selector)
    True
    >>> MostProbable().select(np.eye(2), np.array([0, -1]), np.array([[0.8, 0.2], [0.3, 0.7]])).weights
    array([0.8, 0.7])
    """

    def select(self, embeddings: np.ndarray, y: np.ndarray, proba: np.ndarray) -> PseudoLabels:
        """Label rows: all of them, or the labelled ones and a part of the others that one network is to judge.

        Parameters
        ----------
        embeddings : ndarray of shape (n_samples, d), float32
            Unit-length embeddings of the rows; in the default network for tables, beside the rows themselves.
        y : ndarray of shape (n_samples,), int
            Class index 0 .. n_classes - 1 of the rows labelled by the user, -1 elsewhere. Every class occurs.
        proba : ndarray of shape (n_samples, n_classes), float32
            The network's probabilities under the estimated class distribution of the unlabelled rows, times what a
            right label of each class is worth, scaled to sum to 1: the most probable label is the best.

        Returns
        -------
        PseudoLabels
            Labels and weights of these rows. What it says of rows labelled by the user is not used.
        """
        ...


@runtime_checkable
class NeighborIndex(Protocol):
    """A nearest-neighbour index; :class:`sklearn.neighbors.NearestNeighbors` fits.

    Examples
    --------
    >>> from sklearn.neighbors import NearestNeighbors
    >>> from skdmlpl.interfaces import NeighborIndex
    >>> isinstance(NearestNeighbors(), NeighborIndex)
    True
    """

    def fit(self, X: np.ndarray) -> object:
        """Take in the rows to be found.

        Parameters
        ----------
        X : ndarray of shape (n_samples, d), float32
            The rows.

        Returns
        -------
        object
            Anything; by custom the index itself.
        """
        ...

    def kneighbors(self, X: np.ndarray, n_neighbors: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the nearest rows.

        Parameters
        ----------
        X : ndarray of shape (n_queries, d), float32
            Rows whose neighbours are sought.
        n_neighbors : int
            Neighbours of each.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), float
            Euclidean distances, nearest first.
        indices : ndarray of shape (n_queries, n_neighbors), int
            Numbers of the rows found, in the order given to `fit`.
        """
        ...


class StopReason(enum.StrEnum):
    """Why the rounds ended.

    Examples
    --------
    >>> from skdmlpl.interfaces import StopReason
    >>> StopReason("no_unlabeled").sentence
    'There were no unlabelled rows.'
    """

    ALL_LABELED = "all_labeled"
    CALLBACK = "callback"
    MAX_ROUNDS = "max_rounds"
    NO_UNLABELED = "no_unlabeled"

    @property
    def sentence(self) -> str:
        """The reason in words."""
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
        Means of both losses over the last tenth of the round's steps; nan where a loss is left out.
    seconds : float
        Wall time.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmlpl.interfaces import PseudoLabels, RoundRecord
    >>> chosen = PseudoLabels(labels=np.array([1, -1, 1]), weights=np.array([0.9, 0.0, 0.4]))
    >>> record = RoundRecord(
    ...     1, chosen, prior=np.array([0.3, 0.7]), metric_loss=0.1, classification_loss=0.2, seconds=1.0
    ... )
    >>> record.n_pseudo_labeled, record.class_counts, round(record.mean_weight, 2)
    (2, array([0, 2]), 0.65)
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
