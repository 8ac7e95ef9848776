"""Pseudo-label selectors: from embeddings, given labels and the network's probabilities to labels with a reliability.

All follow :class:`skdmlpl.interfaces.Selector`. All divide what a class says by the class's size, so that frequent
classes do not outvote rare ones; how frequent a class really is among the unlabelled rows, and what a right label of it
is worth, enter once, through the probabilities given. How many of the labels a round uses, class by class, is the
business of the rounds, not theirs.
"""

import math
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator

from skdmlpl._label_spreading import class_shares, neighbor_graph, spread_labels, unit_rows
from skdmlpl._validation import HasMethods, Interval, check_parameters
from skdmlpl.interfaces import NeighborIndex, PseudoLabels

__all__ = ["ConfidenceSelector", "GraphPropagationSelector", "NearestNeighborSelector"]


class GraphPropagationSelector(BaseEstimator):
    r"""Labels spread from the labelled rows over the graph of nearest neighbours of all rows.

    Every row is joined to its `n_neighbors` nearest others with weight :math:`\max(0, \cos)^3`, as in [2]_. The
    labelled rows of class :math:`c` start with :math:`1 / n_c` each, and mass spreads by

    .. math:: F \leftarrow \alpha D^{-1/2} W D^{-1/2} F + Y

    until it has settled [1]_. The share of each class in a row's mass, to the power of `trust`, times the network's
    probability of the class, is the posterior, which training aims at: its largest entry is the label, the lead of the
    largest over the second its weight. A label thus needs a path of near rows to labelled ones as well as the network's
    consent.

    Parameters
    ----------
    n_neighbors : int, default=10
        Neighbours of each row in the graph. Few follow fine structure, many bridge gaps between clusters, and wrongly
        so where classes are small.
    alpha : float in [0, 1), default=0.9
        How far labels spread: the share of a row's mass that comes from its neighbours.
    n_iter : int, default=30
        Steps of spreading; what is left of the start is `alpha` to this power.
    neighbor_index : NeighborIndex or None, default=None
        Finds the neighbours. None takes :func:`skdmlpl.neighbors.default_index`.
    trust : float in [0, 1], default=1
        How far neighbours are trusted beside the network: with 0 it decides alone.

    References
    ----------
    .. [1] Zhou, Bousquet, Lal, Weston, Schölkopf, "Learning with local and global consistency", NeurIPS 2003.
    .. [2] Iscen, Tolias, Avrithis, Chum, "Label propagation for deep semi-supervised learning", CVPR 2019,
       :doi:`10.1109/CVPR.2019.00521`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmlpl.selectors import GraphPropagationSelector
    >>> embeddings = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.2, 0.8]])
    >>> undecided = np.full((4, 2), 0.5)
    >>> GraphPropagationSelector(n_neighbors=1).select(embeddings, np.array([0, 1, -1, -1]), undecided).labels
    array([0, 1, 0, 1])
    """

    _parameter_constraints: dict = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "alpha": [Interval(Real, 0, 1, closed="left")],
        "n_iter": [Interval(Integral, 0, None, closed="left")],
        "neighbor_index": [HasMethods(["fit", "kneighbors"]), None],
        "trust": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        n_neighbors: int = 10,
        alpha: float = 0.9,
        n_iter: int = 30,
        neighbor_index: NeighborIndex | None = None,
        trust: float = 1.0,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.alpha = alpha
        self.n_iter = n_iter
        self.neighbor_index = neighbor_index
        self.trust = trust

    def select(self, embeddings: np.ndarray, y: np.ndarray, proba: np.ndarray) -> PseudoLabels:
        """Label all rows; see :meth:`skdmlpl.interfaces.Selector.select`."""
        check_parameters(self)
        graph = neighbor_graph(embeddings, self.n_neighbors, self.neighbor_index)
        votes = spread_labels(graph, y, proba.shape[1], alpha=self.alpha, n_iter=self.n_iter)
        votes **= self.trust
        return _label_by(votes * proba)


class NearestNeighborSelector(BaseEstimator):
    r"""Labels by the clusters of labelled rows that lie nearest.

    The labelled rows of each class are clustered, so that a class is represented by its places in the embedding rather
    than by its number of rows. A row is compared with the `n_neighbors` nearest cluster centres :math:`\mu` of every
    class (all, where a class has fewer): the mean of :math:`e^{\cos(x, \mu) / \tau}` over them is the class's vote, the
    class-averaged kernel of [1]_. The share of each class in the votes, times the network's probability of the class,
    is the posterior, which training aims at: its largest entry is the label, the lead of the largest over the second
    its weight.

    Parameters
    ----------
    n_neighbors : int, default=10
        Nearest centres of each class that vote.
    n_clusters : int, default=20
        Most clusters of a class; a class with no more labelled rows than this is its rows. Fewer clusters smooth over
        wrong places of single rows, more follow classes of complicated shape.
    temperature : float, default=0.1
        Scale of the similarities. The lower, the more the nearest centres count.

    References
    ----------
    .. [1] Zhou et al., "Continuous contrastive learning for long-tailed semi-supervised recognition", NeurIPS 2024,
       :arxiv:`2410.06109`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmlpl.selectors import NearestNeighborSelector
    >>> embeddings = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.2, 0.8]])
    >>> undecided = np.full((4, 2), 0.5)
    >>> NearestNeighborSelector().select(embeddings, np.array([0, 1, -1, -1]), undecided).labels
    array([0, 1, 0, 1])
    """

    _parameter_constraints: dict = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, n_neighbors: int = 10, n_clusters: int = 20, temperature: float = 0.1) -> None:
        self.n_neighbors = n_neighbors
        self.n_clusters = n_clusters
        self.temperature = temperature

    def select(self, embeddings: np.ndarray, y: np.ndarray, proba: np.ndarray) -> PseudoLabels:
        """Label all rows; see :meth:`skdmlpl.interfaces.Selector.select`."""
        check_parameters(self)
        unit = unit_rows(embeddings)
        log_votes = np.empty_like(proba)
        for c in range(proba.shape[1]):
            log_votes[:, c] = self._log_votes(unit, self._centers(unit[y == c]))
        votes = np.exp(log_votes - log_votes.max(axis=1, keepdims=True))
        return _label_by(class_shares(votes) * proba)

    def _centers(self, members: np.ndarray) -> np.ndarray:
        """Return unit-length cluster centres (n_centers, d) of one class."""
        distinct = np.unique(members, axis=0)
        if len(distinct) <= self.n_clusters:
            return distinct
        # Imported here: it would double what importing the package adds to importing torch and scikit-learn.
        from sklearn.cluster import KMeans

        return unit_rows(KMeans(self.n_clusters, n_init=1, random_state=0).fit(members).cluster_centers_)

    def _log_votes(self, unit: np.ndarray, centers: np.ndarray) -> np.ndarray:
        """Return the logarithm of one class's vote on every row, (n_samples,)."""
        k = min(self.n_neighbors, len(centers))
        cosines = torch.from_numpy(unit @ centers.T)
        nearest = cosines.topk(k, dim=1).values
        return ((nearest / self.temperature).logsumexp(dim=1) - math.log(k)).numpy()


class ConfidenceSelector(BaseEstimator):
    """Labels by the network's probabilities alone, as plain self-training does.

    The weight is the lead of the largest probability over the second. Training aims at the probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmlpl.selectors import ConfidenceSelector
    >>> proba = np.array([[0.9, 0.1], [0.4, 0.6]])
    >>> ConfidenceSelector().select(np.zeros((2, 3)), np.array([-1, -1]), proba).labels
    array([0, 1])
    """

    def select(self, embeddings: np.ndarray, y: np.ndarray, proba: np.ndarray) -> PseudoLabels:
        """Label all rows; see :meth:`skdmlpl.interfaces.Selector.select`."""
        return _label_by(proba)


def _label_by(posterior: np.ndarray) -> PseudoLabels:
    """Take the most probable class of each row (n, n_classes); its lead over the second is the weight."""
    posterior = class_shares(posterior, floor=0)
    second, first = np.partition(posterior, -2, axis=1)[:, -2:].T
    return PseudoLabels(posterior.argmax(axis=1), first - second, posterior)
