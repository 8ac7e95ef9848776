"""Spreads labels over the graph of nearest neighbours: what the rows near a row say of its class."""

import numpy as np
import scipy.sparse as sp

from skdmlpl.interfaces import NeighborIndex
from skdmlpl.neighbors import knn_graph

__all__ = ["class_shares", "neighbor_graph", "spread_labels", "unit_rows"]

# A class that no neighbour speaks for keeps this share of the votes: the network may still be sure of it.
_VOTE_FLOOR = 0.01


def neighbor_graph(places: np.ndarray, n_neighbors: int, index: NeighborIndex | None = None) -> sp.csr_array:
    """Return the symmetric, normalised adjacency (n, n) of the directions of rows (n, d)."""
    unit = unit_rows(places)
    n = len(unit)
    distances, neighbors = knn_graph(unit, n_neighbors, index, random_state=0)
    cosines = 1 - distances**2 / 2
    has_direction = unit.any(axis=1)  # a zero row has none
    cosines *= has_direction[:, None] & has_direction[neighbors]
    weights = np.maximum(cosines, 0) ** 3
    starts = np.arange(0, neighbors.size + 1, max(1, neighbors.shape[1]))
    adjacency = sp.csr_array((weights.ravel(), neighbors.ravel(), starts), shape=(n, n))
    adjacency = (adjacency + adjacency.T).tocsr()
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    # A row without a neighbour on its side of the sphere stays alone, with no mass but its own.
    inverse = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    adjacency.data *= np.repeat(inverse, np.diff(adjacency.indptr))
    adjacency.data *= inverse[adjacency.indices]
    return adjacency


def spread_labels(graph: sp.csr_array, y: np.ndarray, n_classes: int, *, alpha: float, n_iter: int) -> np.ndarray:
    """Return the share (n, n_classes) of each class in the mass that the labelled rows send over the graph."""
    start = _class_normalized_labels(y, n_classes)
    mass = start
    for _ in range(n_iter):
        mass = graph @ mass
        mass *= alpha
        mass += start
    return class_shares(mass)


def class_shares(mass: np.ndarray, floor: float = _VOTE_FLOOR) -> np.ndarray:
    """Scale rows (n, n_classes) to sum to 1, with a share ``floor`` spread evenly; rows without mass are all even."""
    total = mass.sum(axis=1, keepdims=True)
    even = np.full_like(mass, 1 / mass.shape[1])
    shares = np.divide(mass, total, out=even, where=total > 0)
    return (1 - floor) * shares + floor / mass.shape[1]


def unit_rows(embeddings: np.ndarray) -> np.ndarray:
    """Return the rows scaled to length 1, float32; a zero row stays, and so do rows that have that length."""
    length = np.sqrt(np.einsum("ij,ij->i", embeddings, embeddings))[:, None]  # without an array of the squares
    if embeddings.dtype == np.float32 and np.allclose(length, 1, rtol=0, atol=1e-6):
        return embeddings  # those of the package's network: they are large, and need no copy
    return np.divide(embeddings, length, out=np.zeros_like(embeddings), where=length > 0).astype(np.float32, copy=False)


def _class_normalized_labels(y: np.ndarray, n_classes: int) -> np.ndarray:
    """Return (n, n_classes) with 1 / n_c at the labelled rows of class c, and 0 elsewhere."""
    labeled = np.flatnonzero(y >= 0)
    start = np.zeros((len(y), n_classes), dtype=np.float32)
    start[labeled, y[labeled]] = (1 / np.bincount(y[labeled], minlength=n_classes)[y[labeled]]).astype(np.float32)
    return start
