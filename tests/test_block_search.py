"""The search that shares the work of a pair of rows against the plain one, which ``test_neighbors.py`` tests."""

import numpy as np
import pytest
import torch

from skdmlpl._block_search import candidates_of_all, candidates_of_queries


@pytest.mark.parametrize("block_size", [9, 100, 2**22])
def test_candidates_of_all_bound_the_distances_from_below(block_size):
    points = torch.randn(101, 16, generator=torch.Generator().manual_seed(0))
    bounds, candidates = candidates_of_all(points, 12, block_size)
    squared = torch.cdist(points.double(), points.double()).square()
    assert (bounds <= squared.gather(1, candidates) + 1e-12).all()
    expected_bounds, expected = candidates_of_queries(points, points.clone(), 12, block_size)
    np.testing.assert_array_equal(candidates.sort(dim=1).values, expected.sort(dim=1).values)
    np.testing.assert_allclose(bounds, expected_bounds, atol=1e-4)
