"""What columns count, against scikit-learn's F statistic, and where there is nothing to tell."""

import numpy as np
import pytest
import torch
from sklearn.feature_selection import f_classif

from skdmlpl._relevance import relevance

N_CLASSES = 3


@pytest.fixture
def table(rng):
    """Three columns that tell classes: by the place, by the distance from the middle, without noise; others do not."""
    y = rng.permutation(np.repeat([0, 1, 2], [40, 15, 5]))
    X = rng.normal(size=(60, 9))
    X[:, 0] += y
    X[:, 1] += 3 * rng.choice([-1, 1], 60) * (y == 0)
    X[:, 2] = 5 * (y == 1) + 1e-3 * X[:, 2]
    X[:, 3] = 0
    return X - X.mean(axis=0), y


def relevance_of(X, y, *, n_classes=N_CLASSES, size=100):
    rows, labels = torch.from_numpy(X), torch.from_numpy(y)
    return relevance(zip(rows.split(size), labels.split(size), strict=True), n_classes).numpy()


@pytest.mark.parametrize("size", [1, 7, 60])
def test_it_is_the_excess_of_the_f_statistic_as_a_share_of_the_rows(table, size):
    X, y = table
    X = np.delete(X, 3, axis=1)  # scikit-learn's does not take a constant column
    f = np.maximum(f_classif(X, y)[0], f_classif(X**2, y)[0])
    expected = np.clip((f - 1) * (N_CLASSES - 1) / (len(y) - 1), 1e-3, 5)
    np.testing.assert_allclose(relevance_of(X, y, size=size), expected, rtol=1e-9)
    assert expected.max() == 5
    assert expected.min() == 1e-3


def test_a_class_that_no_row_is_of_changes_nothing(table):
    X, y = table
    np.testing.assert_array_equal(relevance_of(X, np.where(y == 2, 7, y), n_classes=9), relevance_of(X, y))


def test_columns_tell_classes_by_their_place_or_by_their_distance_from_the_middle(table):
    weights = relevance_of(*table)
    assert weights[:3].min() > 5 * weights[4:].max()
    assert weights[3] == 1e-3


@pytest.mark.parametrize(
    "y", [np.zeros(9, int), np.arange(9), np.zeros(1, int)], ids=["one class", "one row of each", "one row"]
)
def test_where_nothing_is_told_all_columns_count_the_same(rng, y):
    np.testing.assert_array_equal(relevance_of(rng.normal(size=(len(y), 4)), y, n_classes=9), np.full(4, 1e-3))


def test_columns_without_noise_count_the_most(rng):
    y = np.arange(12) % N_CLASSES
    np.testing.assert_array_equal(relevance_of(y[:, None] - 1.0, y), [5])
