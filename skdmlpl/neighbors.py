"""Nearest neighbours of embeddings: exact up to some ten thousand rows, approximate beyond.

Both indexes follow :class:`skdmlpl.interfaces.NeighborIndex`, as does :class:`sklearn.neighbors.NearestNeighbors`.
"""

import warnings

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from skdmlpl._block_search import MIN_SHARED, candidates_of_all, candidates_of_queries, rank
from skdmlpl._validation import check_positive_integer
from skdmlpl.interfaces import NeighborIndex

__all__ = ["ApproximateNeighbors", "ExactNeighbors", "default_index", "knn_graph"]

# The graph of so many rows takes about 12 s exactly and 4 s by descent on one core, and compiling the descent 25 s once
# a process. Exact time grows with the square of the rows: at 200,000 it is 200 s against 16 s.
_MAX_EXACT = 50_000
# So few rows are compared in milliseconds; an approximate index of them would only be compiled.
_MIN_APPROXIMATE = 1_000


class ExactNeighbors(BaseEstimator):
    """Euclidean nearest neighbours by comparing all rows, in blocks.

    Candidates come from matrix products in float32, which lose the digits of close pairs among distant points. They
    are therefore ranked by their differences, so that equal rows have the distance 0, and a row for which rounding
    may have kept a neighbour out of its candidates is searched again in float64.

    Parameters
    ----------
    block_size : int, default=4_194_304
        Number of distances held at a time; the default takes 16 MB, and twice as much where rows of many columns are
        searched among themselves. A block holds at least one distance there, one row of distances otherwise.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,), float
        Column means of the fitted rows, subtracted before searching: it keeps the distances and saves digits.
    points_ : ndarray of shape (n_samples_fit, n_features), float32
        The fitted rows, centred.
    n_features_in_ : int
        Number of columns of the fitted rows.

    See Also
    --------
    ApproximateNeighbors : For more rows than can be compared one by one.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmlpl.neighbors import ExactNeighbors
    >>> index = ExactNeighbors().fit(np.array([[0.0], [1.0], [3.0]]))
    >>> distances, indices = index.kneighbors(np.array([[1.5]]), n_neighbors=2)
    >>> indices
    array([[1, 2]])
    >>> distances
    array([[0.5, 1.5]], dtype=float32)
    """

    def __init__(self, block_size: int = 2**22) -> None:
        self.block_size = block_size

    def fit(self, X: np.ndarray, y: object = None) -> "ExactNeighbors":
        """Store the rows to search in.

        Parameters
        ----------
        X : array-like of shape (n_samples_fit, n_features)
            The rows; not modified, and copied once, as float32.
        y : None
            Ignored.

        Returns
        -------
        ExactNeighbors
            The fitted index.

        Raises
        ------
        ValueError
            If `block_size` is not a positive integer, or X not a 2-D array of finite numbers.
        """
        check_positive_integer("block_size", self.block_size, "ExactNeighbors")
        X = validate_data(self, X, dtype=[np.float32, np.float64])
        self.mean_ = X.mean(axis=0, dtype=np.float64).astype(X.dtype)
        self.points_ = self._center(X)
        return self

    def kneighbors(self, X: np.ndarray, n_neighbors: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the nearest fitted rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows to find neighbours of. A fitted row is a neighbour of itself.
        n_neighbors : int
            Number of neighbours, at most n_samples_fit.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_neighbors), float32
            Euclidean distances, nearest first.
        indices : ndarray of shape (n_samples, n_neighbors), int64
            Positions among the fitted rows.

        Raises
        ------
        ValueError
            If there are fewer fitted rows than `n_neighbors`, X does not match the fitted rows, or its values are too
            far from theirs for float32.
        """
        distances, indices = self._nearest(self._queries(X, n_neighbors), n_neighbors)
        return distances.numpy(), indices.numpy()

    def _nearest(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        points = torch.from_numpy(self.points_)
        if torch.equal(queries, points):
            queries = points  # gives the memory of the queries back
        distances, indices, sure = self._search(queries, points, k)
        if not sure.all():
            exact, indices[~sure], _ = self._search(queries[~sure].double(), points.double(), k)
            distances[~sure] = exact.float()
        return distances, indices

    def _search(self, queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, ...]:
        """Return distances (m, k), indices (m, k) and whether rounding cannot have hidden a nearer point (m,)."""
        # Numbers of numpy, as a grid of parameters holds, make torch compute other than with Python's.
        k, block_size = int(k), int(self.block_size)
        n_candidates = min(2 * k, len(points))
        if queries is points and points.shape[1] >= MIN_SHARED:
            bounds, candidates = candidates_of_all(points, n_candidates, block_size)
        else:
            bounds, candidates = candidates_of_queries(queries, points, n_candidates, block_size)
        distances, indices = rank(queries, points, candidates, k, block_size)
        # All other points are at least as far as the last bound says.
        sure = (distances[:, -1].square() <= bounds[:, -1]) | (n_candidates == len(points))
        return distances, indices, sure

    def _queries(self, X: np.ndarray, n_neighbors: int) -> Tensor:
        check_is_fitted(self)
        check_positive_integer("n_neighbors", n_neighbors, "kneighbors")
        X = validate_data(self, X, reset=False, dtype=[np.float32, np.float64], ensure_min_samples=0)
        if n_neighbors > len(self.points_):
            raise ValueError(
                f"Expected n_neighbors <= n_samples_fit, but n_neighbors = {n_neighbors}, "
                f"n_samples_fit = {len(self.points_)}, n_samples = {len(X)}"
            )
        return torch.from_numpy(self._center(X))

    def _center(self, X: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            centered = np.ascontiguousarray(X - self.mean_, dtype=np.float32)
        # Squared distances are sums over the columns, of differences of up to twice the largest number.
        limit = np.sqrt(np.finfo(np.float32).max / X.shape[1]) / 2
        if not (centered.max(initial=0) < limit and centered.min(initial=0) > -limit):
            raise ValueError(
                f"X must lie within {limit:.1e} of the mean of the fitted rows, so that squared distances fit into "
                "float32: scale it down."
            )
        return centered


class ApproximateNeighbors(BaseEstimator):
    """Euclidean nearest neighbours among very many rows, by nearest-neighbour descent.

    The neighbours of the fitted rows themselves are found by :class:`pynndescent.NNDescent` [1]_, which is imported
    when first used and compiles for about half a minute in every new process. Other rows are searched exactly: among
    clusters far apart, the descent would often lead them into the wrong one. Exact, too, is the search among 1,000
    rows or fewer, and for a row where the descent finds too few neighbours.

    Parameters
    ----------
    n_neighbors : int, default=30
        Neighbours of each row, itself included, that the descent refines, or as many as are asked for where that is
        more. More take longer and find more of the true neighbours.
    random_state : int, RandomState instance or None, default=None
        Seeds the descent. An int gives the same result every time; None draws a new seed without touching numpy's
        global generator.

    Attributes
    ----------
    exact_ : ExactNeighbors
        The index of the fitted rows that searches where the descent does not.
    seed_ : int
        Seed of the descent.

    See Also
    --------
    ExactNeighbors : The better choice up to some ten thousand rows.

    References
    ----------
    .. [1] Dong, Moses, Li, "Efficient k-nearest neighbor graph construction for generic similarity measures",
       WWW 2011, :doi:`10.1145/1963405.1963487`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmlpl.neighbors import ApproximateNeighbors
    >>> index = ApproximateNeighbors(random_state=0).fit(np.array([[0.0], [1.0], [3.0]]))
    >>> index.kneighbors(np.array([[1.5]]), n_neighbors=2)[1]
    array([[1, 2]])
    """

    def __init__(self, n_neighbors: int = 30, random_state: int | np.random.RandomState | None = None) -> None:
        self.n_neighbors = n_neighbors
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: object = None) -> "ApproximateNeighbors":
        """Store the rows to search in.

        Parameters
        ----------
        X : array-like of shape (n_samples_fit, n_features)
            The rows; not modified, and copied once, as float32.
        y : None
            Ignored.

        Returns
        -------
        ApproximateNeighbors
            The fitted index.

        Raises
        ------
        ValueError
            If `n_neighbors` is not a positive integer, or X not a 2-D array of finite numbers.
        """
        check_positive_integer("n_neighbors", self.n_neighbors, "ApproximateNeighbors")
        self.exact_ = ExactNeighbors().fit(X)
        # scikit-learn reads None as numpy's global generator, which is the caller's.
        source = np.random.RandomState() if self.random_state is None else check_random_state(self.random_state)
        self.seed_ = int(source.randint(np.iinfo(np.int32).max))
        return self

    def kneighbors(self, X: np.ndarray, n_neighbors: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the nearest fitted rows: exactly, or nearly all of them where X holds the fitted rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows to find neighbours of. A fitted row is a neighbour of itself.
        n_neighbors : int
            Number of neighbours, at most n_samples_fit.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_neighbors), float32
            Euclidean distances, nearest first.
        indices : ndarray of shape (n_samples, n_neighbors), int64
            Positions among the fitted rows.

        Raises
        ------
        ValueError
            If there are fewer fitted rows than `n_neighbors`, or X does not match the fitted rows.
        """
        check_is_fitted(self)
        queries, points = self.exact_._queries(X, n_neighbors), torch.from_numpy(self.exact_.points_)
        width = int(max(self.n_neighbors, n_neighbors))
        if len(points) <= max(_MIN_APPROXIMATE, width) or not torch.equal(queries, points):
            distances, indices = self.exact_._nearest(queries, n_neighbors)
        else:
            del queries  # they are the points, and as large
            candidates = _descend(points, width, self.seed_)
            failed = (candidates < 0).any(dim=1)
            distances, indices = rank(points, points, candidates.clamp_(min=0), n_neighbors, self.exact_.block_size)
            if failed.any():
                distances[failed], indices[failed] = self.exact_._nearest(points[failed], n_neighbors)
        return distances.numpy(), indices.numpy()


def default_index(n_samples: int, random_state: int | np.random.RandomState | None = None) -> NeighborIndex:
    """Choose an index by the number of rows to search in.

    Parameters
    ----------
    n_samples : int
        Number of rows the index will be fitted on.
    random_state : int, RandomState instance or None, default=None
        Seed of the approximate index.

    Returns
    -------
    NeighborIndex
        An unfitted :class:`ExactNeighbors` up to 50,000 rows, :class:`ApproximateNeighbors` beyond.

    Examples
    --------
    >>> from skdmlpl.neighbors import default_index
    >>> default_index(50_000)
    ExactNeighbors()
    >>> default_index(1_000_000, random_state=0)
    ApproximateNeighbors(random_state=0)
    """
    return ExactNeighbors() if n_samples <= _MAX_EXACT else ApproximateNeighbors(random_state=random_state)


def knn_graph(
    X: np.ndarray,
    n_neighbors: int,
    index: NeighborIndex | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest other rows of every row.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows.
    n_neighbors : int
        Number of neighbours of each row, not counting itself; n_samples - 1 where that is less.
    index : NeighborIndex or None, default=None
        Finds the neighbours; a copy is fitted. None takes that of :func:`default_index`.
    random_state : int, RandomState instance or None, default=None
        Seed of the default index.

    Returns
    -------
    distances : ndarray of shape (n_samples, min(n_neighbors, n_samples - 1)), float32
        Euclidean distances, nearest first.
    indices : ndarray of shape (n_samples, min(n_neighbors, n_samples - 1)), int64
        Row numbers, never the row's own; a row equal to it may be among them.

    Raises
    ------
    ValueError
        If `n_neighbors` is not a positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmlpl.neighbors import knn_graph
    >>> distances, indices = knn_graph(np.array([[0.0], [1.0], [1.5], [4.0]]), n_neighbors=1)
    >>> indices.ravel()
    array([1, 2, 1, 2])
    """
    check_positive_integer("n_neighbors", n_neighbors, "knn_graph")
    n = len(X)
    k = min(int(n_neighbors), n - 1)  # numpy's small integers overflow
    index = default_index(n, random_state) if index is None else clone(index, safe=False)
    index.fit(X)
    distances, indices = index.kneighbors(X, n_neighbors=k + 1)
    drop = indices == np.arange(n)[:, None]  # (n, k + 1)
    # Among equal rows, a row itself may be missing.
    drop[:, -1] |= ~drop.any(axis=1)
    return (
        np.asarray(distances[~drop], dtype=np.float32).reshape(n, k),
        np.asarray(indices[~drop], dtype=np.int64).reshape(n, k),
    )


def _descend(points: Tensor, k: int, seed: int) -> Tensor:
    """Near points (n, k) of all points, each its own first; -1 where the descent found no more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's own, and one about the rows with -1
        from pynndescent import NNDescent

        # One thread: with more, the result could depend on their number.
        index = NNDescent(points.numpy(), n_neighbors=k, random_state=seed, n_jobs=1)
    return torch.from_numpy(index.neighbor_graph[0]).long()
