"""Comparing all rows with all, block by block: what is near, and how sure that is."""

import math

import torch
from torch import Tensor

__all__ = ["MIN_SHARED", "candidates_of_all", "candidates_of_queries", "rank"]

# From so many columns on, multiplying each pair of rows once and not twice saves more than the smaller blocks cost:
# half of the time at 1,400 columns, nothing at 200.
MIN_SHARED = 256
# Numbers that differences are taken of at a time: 1 MB of them stays in the cache, which halves the time.
_RANK_SIZE = 2**18


def candidates_of_queries(queries: Tensor, points: Tensor, c: int, block_size: int) -> tuple[Tensor, Tensor]:
    """Return the lowest bounds (m, c) on the squared distances of the points from each query, and whose they are."""
    norms, query_norms = _lowered_norms(points), _lowered_norms(queries)
    size = max(1, block_size // len(points))
    memory = _Memory(points)
    found = [
        _bounds(block, points, block_norms, norms, memory).topk(c, largest=False)
        for block, block_norms in zip(queries.split(size), query_norms.split(size), strict=True)
    ]
    return tuple(torch.cat(part) for part in zip(*found, strict=True))


def candidates_of_all(points: Tensor, c: int, block_size: int) -> tuple[Tensor, Tensor]:
    """Return what ``candidates_of_queries`` does where the points are the queries, with half the work.

    Each pair is multiplied once and counts for both. Square tiles, because the lowest of a long row or column are found
    faster, number by number, than of a short one.
    """
    side = math.isqrt(block_size)
    blocks, norms = points.split(side), _lowered_norms(points).split(side)
    memory, turned = _Memory(points), _Memory(points)
    kept = [(block.new_empty(len(block), 0), block.new_empty(len(block), 0, dtype=torch.int64)) for block in blocks]
    for i in range(len(blocks)):
        for j in range(i, len(blocks)):
            tile = _bounds(blocks[i], blocks[j], norms[i], norms[j], memory)
            kept[i] = _merge(kept[i], tile, j * side, c)
            if j > i:
                kept[j] = _merge(kept[j], turned.take(*tile.T.shape).copy_(tile.T), i * side, c)
    return tuple(torch.cat(part) for part in zip(*kept, strict=True))


def _merge(kept: tuple[Tensor, Tensor], bounds: Tensor, offset: int, c: int) -> tuple[Tensor, Tensor]:
    """Return the ``c`` lowest of the kept bounds and of new ones (b, t), of the points from ``offset`` on."""
    bounds, position = bounds.topk(min(c, bounds.shape[1]), largest=False)
    bounds, points = torch.cat([kept[0], bounds], dim=1), torch.cat([kept[1], position + offset], dim=1)
    bounds, position = bounds.topk(min(c, bounds.shape[1]), largest=False)
    return bounds, points.gather(1, position)


def _lowered_norms(points: Tensor) -> Tensor:
    """Return the squared lengths (n,) of points, less what rounding can add to a squared distance made of them."""
    # |p|^2 + |q|^2 - 2 p.q is off by at most this share of |p|^2 + |q|^2; less that share it is a lower bound.
    rounding = (points.shape[1] + 4) * torch.finfo(points.dtype).eps / 2
    return (1 - rounding) * torch.einsum("ij,ij->i", points, points)  # squares would need as much memory again


def _bounds(queries: Tensor, points: Tensor, query_norms: Tensor, norms: Tensor, memory: "_Memory") -> Tensor:
    """Return numbers (m, n) that the squared distances of queries and points do not fall below."""
    out = memory.take(len(queries), len(points))
    return torch.addmm(norms, queries, points.T, alpha=-2, out=out).add_(query_norms[:, None])


def rank(queries: Tensor, points: Tensor, candidates: Tensor, k: int, block_size: int) -> tuple[Tensor, Tensor]:
    """Return distances and indices (m, k) of the nearest of the candidates (m, c), from exact differences."""
    ranked = []
    memory = _Memory(points)
    rows = max(1, min(block_size, _RANK_SIZE) // (candidates.shape[1] * points.shape[1]))
    for block, chosen in zip(queries.split(rows), candidates.split(rows), strict=True):
        near = torch.index_select(points, 0, chosen.flatten(), out=memory.take(chosen.numel(), points.shape[1]))
        difference = near.view(*chosen.shape, points.shape[1]).sub_(block[:, None])
        distances, order = torch.linalg.vector_norm(difference, dim=2).topk(k, largest=False)
        ranked.append((distances, chosen.gather(1, order)))
    return tuple(torch.cat(part) for part in zip(*ranked, strict=True))


class _Memory:
    """Memory for one array after another.

    The C library may hand large arrays back to the system when they are freed, and get the next one page by page, which
    can take longer than what is done with it.
    """

    def __init__(self, like: Tensor) -> None:
        self._numbers = like.new_empty(0)

    def take(self, n_rows: int, n_columns: int) -> Tensor:
        """Return an array of any numbers, in the place of the one before."""
        size = n_rows * n_columns
        if size > len(self._numbers):
            self._numbers = self._numbers.new_empty(size)
        return self._numbers[:size].view(n_rows, n_columns)
