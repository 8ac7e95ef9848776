"""Long-tailed columns on a normal scale: which they are, and what becomes of them."""

import numpy as np
import pytest
import torch
from scipy import stats

from skdmlpl._normal_scores import NormalScores, RowSample


def adapted(X):
    scores = NormalScores()
    scores.adapt(torch.from_numpy(X), torch.from_numpy(X.std(axis=0)))
    return scores


COLUMNS = {
    "normal": (stats.norm, False),
    "uniform": (stats.uniform, False),
    "exponential": (stats.expon, False),
    "t of 3 degrees": (stats.t(3), False),
    "log-normal": (stats.lognorm(2), True),
    "Cauchy": (stats.cauchy, True),
    "Pareto": (stats.pareto(0.7), True),
    "rare ones": (stats.bernoulli(0.02), False),  # no distance between the quantiles
    "constant": (stats.bernoulli(1.0), False),
}


@pytest.mark.parametrize(("distribution", "long"), COLUMNS.values(), ids=COLUMNS)
def test_only_long_tails_are_brought_to_a_normal_scale(distribution, long):
    values = distribution.rvs(size=(3000, 1), random_state=0).astype(float)
    scores = adapted(values)
    rows, others = torch.from_numpy(values), torch.zeros(3000, 1, dtype=torch.float64)
    found = scores(rows, others)
    assert len(scores.columns) == long
    if not long:
        assert torch.equal(found, others)
        return
    expected = stats.norm.ppf((stats.rankdata(values) - 0.5) / 3000)
    inner = np.abs(expected) < 2.3  # beyond, the scores stay as they are
    np.testing.assert_allclose(found.numpy()[inner, 0], expected[inner], atol=0.1)
    assert found.abs().max() == pytest.approx(stats.norm.ppf(0.995))
    moved = scores(rows * 1e3 - 5, others)
    torch.testing.assert_close(adapted(values * 1e3 - 5)(rows * 1e3 - 5, others), found)
    assert not torch.allclose(moved, found)


def test_equal_values_have_one_score_and_larger_ones_no_smaller():
    rng = np.random.default_rng(0)
    counts = np.floor(stats.lognorm(2).rvs(size=2000, random_state=0)) + (rng.random(2000) < 0.3)
    scores = adapted(counts[:, None])
    values = torch.arange(-5.0, 3000, 0.5, dtype=torch.float64)[:, None]
    found = scores(values, torch.zeros_like(values)).ravel()
    assert (found.diff() >= 0).all()
    # Zeros are tied: their score is the mean of their places.
    share = (counts == 0).mean()
    places = stats.norm.ppf((np.arange(round(100 * share)) + 0.5) / 100)
    assert found[10] == pytest.approx(places.mean(), abs=0.05)
    assert torch.equal(found[:10], found[10].expand(10))


def test_other_columns_keep_what_they_are_given():
    X = np.random.default_rng(0).normal(size=(500, 3))
    X[:, 1] = np.exp(3 * X[:, 1])
    scores = adapted(X)
    rows, others = torch.from_numpy(X), torch.rand(500, 3, dtype=torch.float64)
    before = others.clone()
    found = scores(rows, others)
    assert scores.columns.tolist() == [1]
    assert torch.equal(found[:, [0, 2]], others[:, [0, 2]])
    assert torch.equal(others, before)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_sample_has_all_of_few_rows_and_each_of_many_with_the_same_chance(size):
    rows = torch.arange(300.0, dtype=torch.float64)[:, None]
    sample = RowSample(1)
    assert all(torch.equal(sample.add(batch), batch) for batch in rows.split(size))
    assert sorted(sample.rows.ravel().tolist()) == rows.ravel().tolist()
    sample.size = 100
    before = torch.get_rng_state()
    for batch in rows.split(size):
        sample.add(batch + 300)
    assert sample.rows.shape == (100, 1)
    assert len(sample.rows.unique()) == 100
    assert 30 < (sample.rows < 300).sum() < 70
    assert torch.equal(torch.get_rng_state(), before)


def test_a_wide_sample_has_fewer_rows():
    assert RowSample(2).size == 2_000
    assert RowSample(20_000).size < 200
