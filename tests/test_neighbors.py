"""Nearest neighbours against a naive search in float64."""

import subprocess
import sys
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.neighbors import NearestNeighbors

from skdmlpl import neighbors
from skdmlpl._block_search import MIN_SHARED
from skdmlpl.interfaces import NeighborIndex
from skdmlpl.neighbors import ApproximateNeighbors, ExactNeighbors, default_index, knn_graph


def naive(points, queries, k):
    difference = queries[:, None].astype(np.float64) - points[None].astype(np.float64)
    distance = np.sqrt((difference**2).sum(axis=2))
    indices = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distance, indices, axis=1), indices


def clusters(n_samples, n_features=16, n_clusters=20, spread=0.5, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(n_clusters, n_features))
    X = centers[rng.integers(n_clusters, size=n_samples)] + spread * rng.normal(size=(n_samples, n_features))
    return X.astype(np.float32)


@pytest.mark.parametrize("block_size", [1, 700, 2**22])
@pytest.mark.parametrize("k", [1, 7, 100, 101])
def test_exact_agrees_with_naive_search(block_size, k):
    points, queries = clusters(101), clusters(53, seed=1)
    distances, indices = ExactNeighbors(block_size).fit(points).kneighbors(queries, k)
    expected_distances, expected_indices = naive(points, queries, k)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-6)
    assert distances.dtype == np.float32
    assert indices.dtype == np.int64


@pytest.mark.parametrize("block_size", [1, 10, 700, 2**22])
@pytest.mark.parametrize("k", [1, 7, 101])
@pytest.mark.parametrize("n_features", [3, MIN_SHARED])
def test_exact_agrees_with_naive_search_among_the_points_themselves(block_size, k, n_features):
    points = clusters(101, n_features)
    distances, indices = ExactNeighbors(block_size).fit(points).kneighbors(points, k)
    expected_distances, expected_indices = naive(points, points, k)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_exact_takes_any_number_and_leaves_the_input_alone(dtype):
    points = (10 * clusters(60)).astype(dtype)
    before = points.copy()
    points.flags.writeable = False
    _, indices = ExactNeighbors().fit(points).kneighbors(points, 3)
    np.testing.assert_array_equal(points, before)
    np.testing.assert_array_equal(indices, naive(points, points, 3)[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_far_from_the_origin(dtype):
    points = (clusters(300).astype(np.float64) + 1e4).astype(dtype)
    distances, indices = ExactNeighbors().fit(points).kneighbors(points, 5)
    expected_distances, expected_indices = naive(points, points, 5)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-4)
    np.testing.assert_array_equal(distances[:, 0], 0)


@pytest.mark.parametrize("n_features", [8, MIN_SHARED])
def test_exact_inside_tight_clusters_far_apart(n_features):
    # Here |a|^2 + |b|^2 - 2ab in float32 has no correct digit left, and centring does not help.
    rng = np.random.default_rng(0)
    points = np.repeat([[3000.0] * n_features, [-3000.0] * n_features], 200, axis=0)
    points += rng.normal(size=points.shape)
    points = points.astype(np.float32)
    distances, indices = ExactNeighbors().fit(points).kneighbors(points, 5)
    expected_distances, _ = naive(points, points, 5)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-3)
    np.testing.assert_array_equal(indices[:, 0], np.arange(400))


def test_exact_refuses_what_float32_cannot_compare():
    index = ExactNeighbors().fit([[0.0, 1.0], [2.0, 3.0]])
    with pytest.raises(ValueError, match=r"X must lie within .* so that squared distances fit into float32"):
        ExactNeighbors().fit(np.array([[1e200, 0.0], [2e200, 0.0]]))
    for far in (1e19, -1e300):
        with pytest.raises(ValueError, match="squared distances"):
            index.kneighbors(np.array([[far, 0.0]]), 1)
    X = 1e18 * clusters(50, n_features=2)
    distances, indices = ExactNeighbors().fit(X).kneighbors(X, 3)
    expected, nearest = naive(X, X, 3)
    np.testing.assert_array_equal(indices, nearest)
    np.testing.assert_allclose(distances, expected, rtol=1e-5)


def test_exact_computes_where_the_rows_are():
    X = clusters(300, n_features=MIN_SHARED)
    expected = ExactNeighbors(block_size=10_000).fit(X).kneighbors(X, 3)
    with torch.device("meta"):
        found = ExactNeighbors(block_size=10_000).fit(X).kneighbors(X, 3)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_exact_counts_equal_rows_as_distance_zero():
    points = np.repeat(clusters(30) + 100, 10, axis=0)
    distances, indices = ExactNeighbors().fit(points).kneighbors(points, 10)
    np.testing.assert_array_equal(distances, 0)
    np.testing.assert_array_equal(np.sort(indices, axis=1), np.arange(300).reshape(30, 10).repeat(10, axis=0))


@pytest.mark.parametrize("index", [ExactNeighbors(), ApproximateNeighbors(random_state=0)])
def test_index_contract(index):
    assert isinstance(index, NeighborIndex)
    assert clone(index).get_params() == index.get_params()
    X = clusters(40)
    with pytest.raises(ValueError, match="not fitted yet"):
        clone(index).kneighbors(X, 3)
    index.fit(X)
    with pytest.raises(ValueError, match="Expected n_neighbors <= n_samples_fit, but n_neighbors = 41"):
        index.kneighbors(X, 41)
    with pytest.raises(ValueError, match=r"must be an int in the range \[1, inf\). Got 0 instead"):
        index.kneighbors(X, 0)
    with pytest.raises(ValueError, match="X has 5 features"):
        index.kneighbors(X[:, :5], 3)
    with pytest.raises(ValueError, match="NaN"):
        index.fit(np.full((5, 2), np.nan))
    assert index.fit(X).kneighbors(X[:0], 3)[0].shape == (0, 3)
    np.testing.assert_array_equal(index.kneighbors(X, 40)[1], naive(X, X, 40)[1])


@pytest.mark.parametrize(
    "index", [ExactNeighbors(block_size=0), ApproximateNeighbors(n_neighbors=2.5), ApproximateNeighbors(n_neighbors=0)]
)
def test_index_refuses_wrong_parameters(index):
    with pytest.raises(
        ValueError, match=rf"parameter of {type(index).__name__} must be an int in the range \[1, inf\)"
    ):
        index.fit(clusters(10))


@contextmanager
def untraced():
    """Measure no coverage inside: compiling takes twice as long while each of its calls is looked at."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


def test_approximate_finds_nearly_all_neighbours():
    X = clusters(3200, 24, n_clusters=40)
    X[1600:1700] = X[0]
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with untraced():  # the one test that pays for compiling
            distances, indices = ApproximateNeighbors(random_state=0).fit(X).kneighbors(X, 11)
        again = ApproximateNeighbors(random_state=0).fit(X).kneighbors(X.copy(), 11)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    np.testing.assert_array_equal(indices, again[1])
    # By distance, because equal rows are neighbours in any order.
    assert np.mean(distances <= ExactNeighbors().fit(X).kneighbors(X, 11)[0][:, -1:]) >= 0.98
    assert (np.diff(distances, axis=1) >= 0).all()
    np.testing.assert_allclose(distances, np.linalg.norm(X[:, None] - X[indices], axis=2), rtol=1e-5, atol=1e-6)
    assert all(len(set(row)) == 11 for row in indices.tolist())


def test_approximate_repairs_rows_without_neighbours(monkeypatch):
    def half_blind(points, k, seed):
        _, indices = naive(points.numpy(), points.numpy(), k)
        indices[::2, 2:] = -1
        return torch.from_numpy(indices)

    monkeypatch.setattr(neighbors, "_MIN_APPROXIMATE", 10)
    monkeypatch.setattr(neighbors, "_descend", half_blind)
    X = clusters(80)
    for k in (6, 40):
        distances, indices = ApproximateNeighbors(n_neighbors=12, random_state=0).fit(X).kneighbors(X, k)
        expected_distances, expected_indices = naive(X, X, k)
        np.testing.assert_array_equal(indices, expected_indices)
        np.testing.assert_allclose(distances, expected_distances, rtol=1e-5)


def test_approximate_searches_other_rows_exactly():
    X, queries = clusters(1100), clusters(31, seed=1)
    _, indices = ApproximateNeighbors().fit(X).kneighbors(queries, 6)
    np.testing.assert_array_equal(indices, naive(X, queries, 6)[1])


@pytest.mark.parametrize("random_state", [None, 0, np.random.RandomState(0)])
def test_approximate_leaves_the_global_generator_alone(random_state):
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    seeds = {ApproximateNeighbors(random_state=random_state).fit(clusters(5)).seed_ for _ in range(3)}
    assert len(seeds) == (1 if random_state == 0 else 3)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_default_index_depends_on_the_number_of_rows():
    assert isinstance(default_index(50_000), ExactNeighbors)
    large = default_index(50_001, random_state=3)
    assert isinstance(large, ApproximateNeighbors)
    assert large.random_state == 3


@pytest.mark.parametrize("index", [None, ExactNeighbors(block_size=50), NearestNeighbors()])
def test_graph_leaves_out_the_row_itself(index):
    X = clusters(120)
    distances, indices = knn_graph(X, 4, index)
    expected_distances, expected_indices = naive(X, X, 5)
    np.testing.assert_array_equal(indices, expected_indices[:, 1:])
    np.testing.assert_allclose(distances, expected_distances[:, 1:], rtol=1e-5)
    assert distances.dtype == np.float32
    assert indices.dtype == np.int64


@pytest.mark.parametrize("n_copies", [2, 5, 30])
def test_graph_of_equal_rows(n_copies):
    X = np.repeat(clusters(12), n_copies, axis=0)
    distances, indices = knn_graph(X, 4)
    assert (indices != np.arange(len(X))[:, None]).all()
    assert all(len(set(row)) == 4 for row in indices.tolist())
    np.testing.assert_array_equal(distances[:, : min(4, n_copies - 1)], 0)
    np.testing.assert_allclose(distances, naive(X, X, 5)[0][:, 1:], rtol=1e-5)


def test_graph_has_no_more_neighbours_than_other_rows():
    X = clusters(6)
    for n in (1, 2, 6):
        distances, indices = knn_graph(X[:n], 10)
        assert distances.shape == indices.shape == (n, n - 1)
    assert sorted(indices[0].tolist()) == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="The 'n_neighbors' parameter of knn_graph"):
        knn_graph(X, 0)


class FitsInPlace:
    """An index whose ``fit`` returns nothing."""

    def fit(self, X):
        self.index = NearestNeighbors().fit(X)

    def kneighbors(self, X, n_neighbors):
        return self.index.kneighbors(X, n_neighbors)


def test_graph_needs_nothing_from_fit():
    X = clusters(30)
    for one, other in zip(knn_graph(X, 3, FitsInPlace()), knn_graph(X, 3, NearestNeighbors()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_graph_does_not_fit_the_given_index():
    index = ExactNeighbors()
    knn_graph(clusters(10), 2, index)
    assert not hasattr(index, "points_")


def test_import_does_not_load_numba():
    code = "import sys, skdmlpl.neighbors; sys.exit('numba' in sys.modules or 'pynndescent' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_numbers_of_numpy_are_numbers(monkeypatch):
    monkeypatch.setattr(neighbors, "_MIN_APPROXIMATE", 20)
    X = np.random.default_rng(0).normal(size=(60, 3))
    expected = ExactNeighbors().fit(X).kneighbors(X, 5)
    for index in (ExactNeighbors(block_size=np.int64(100)), ExactNeighbors(), ApproximateNeighbors(np.int64(30))):
        for found, wanted in zip(index.fit(X).kneighbors(X, np.int64(5)), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-6)
    X = np.random.default_rng(0).normal(size=(300, 3))
    for found, wanted in zip(*(knn_graph(X, k, ExactNeighbors()) for k in (np.uint8(255), 255)), strict=True):
        np.testing.assert_array_equal(found, wanted)
