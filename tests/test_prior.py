"""The estimated class distribution, on posteriors that are known to be right."""

import numpy as np
import pytest
import torch

from skdmlpl import _prior
from skdmlpl._label_spreading import neighbor_graph
from skdmlpl._prior import _Scaling, consult_neighbors, estimate_prior

EVEN = np.full(5, 0.2)
TAIL = np.array([0.6, 0.25, 0.1, 0.04, 0.01])


def likelihood_of_gaussians(prior, n_samples=4000, distance=3.0, seed=0):
    """Return exact posteriors, under equal frequencies, of rows from unit Gaussians; and the frequencies drawn."""
    n_classes = len(prior)
    rng = np.random.default_rng(seed)
    true = rng.choice(n_classes, p=prior, size=n_samples)
    centers = distance / np.sqrt(2) * np.eye(n_classes)  # so far from each other
    rows = centers[true] + rng.normal(size=(n_samples, n_classes))
    log_density = -0.5 * ((rows[:, None] - centers) ** 2).sum(axis=2)
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    return density / density.sum(axis=1, keepdims=True), np.bincount(true, minlength=n_classes) / n_samples


@pytest.mark.parametrize("distance", [2.0, 3.0, 6.0])
@pytest.mark.parametrize(
    "prior", [[0.5, 0.5], [0.9, 0.1], [0.02, 0.98], [0.2] * 5, TAIL, TAIL[::-1], TAIL[[2, 4, 0, 1, 3]]], ids=str
)
def test_a_known_prior_is_recovered(prior, distance):
    likelihood, drawn = likelihood_of_gaussians(prior, distance=distance)
    estimate = estimate_prior(likelihood, labeled=np.full(len(prior), 1 / len(prior)))
    np.testing.assert_allclose(estimate, drawn, atol=0.04)
    # What it is for: to be nearer to the truth than counting the most probable classes.
    counted = np.bincount(likelihood.argmax(axis=1), minlength=len(drawn)) / len(likelihood)
    if distance == 2 and max(prior) > 0.5:
        assert np.abs(estimate - drawn).sum() < 0.5 * np.abs(counted - drawn).sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_estimate_is_a_fixed_point_of_the_mean_posterior(dtype):
    likelihood, _ = likelihood_of_gaussians(TAIL)
    estimate = estimate_prior(likelihood.astype(dtype), labeled=EVEN)
    mean = np.zeros(5)
    for row in likelihood:
        joint = [p * q for p, q in zip(row, estimate, strict=True)]
        mean += np.array(joint) / sum(joint) / len(likelihood)
    # But for the share that is spread evenly.
    share = np.abs(estimate - mean).sum() / np.abs(0.2 - mean).sum()
    np.testing.assert_allclose(estimate, (1 - share) * mean + share / 5, atol=1e-3)
    assert 0 < share < 0.05


@pytest.mark.parametrize("n_samples", [1, 3, 200])
@pytest.mark.parametrize("n_classes", [2, 5, 50])
def test_the_estimate_is_a_distribution(n_samples, n_classes):
    likelihood = np.random.default_rng(0).dirichlet(np.full(n_classes, 0.1), size=n_samples).astype(np.float32)
    before = likelihood.copy()
    estimate = estimate_prior(likelihood, labeled=np.full(n_classes, 1 / n_classes))
    assert estimate.shape == (n_classes,)
    assert estimate.dtype == np.float64
    assert estimate.sum() == pytest.approx(1)
    assert estimate.min() > 0
    np.testing.assert_array_equal(likelihood, before)


def test_a_class_that_no_row_speaks_for_is_not_given_up():
    likelihood = np.tile([1.0, 0.0, 0.0], (50, 1))
    estimate = estimate_prior(likelihood, labeled=np.array([0.1, 0.2, 0.7]))
    assert estimate[0] > 0.95
    assert estimate[1] == estimate[2]
    assert 0.002 < estimate[1] < 0.02


def test_rows_that_say_nothing_leave_the_classes_as_frequent_as_labels():
    labeled = np.array([0.4, 0.3, 0.2, 0.1])
    np.testing.assert_allclose(estimate_prior(np.full((20, 4), 0.25), labeled), labeled, atol=0.02)


def test_labels_count_the_less_the_more_the_rows_say():
    distances = []
    for distance in [0.5, 2.0, 4.0]:
        likelihood, _ = likelihood_of_gaussians(TAIL, distance=distance)
        estimates = [estimate_prior(likelihood, labeled) for labeled in (TAIL, TAIL[::-1])]
        distances.append(np.abs(estimates[0] - estimates[1]).sum() / 2)
    assert distances[0] > 0.2 > 0.1 > distances[1] > distances[2]
    assert distances[2] < 0.01


def distance_between(first, second):
    return np.abs(first - second).sum() / 2


@pytest.mark.parametrize("seed", range(5))
def test_few_rows_that_may_well_follow_the_labels_are_taken_to_do_so(seed):
    likelihood, _ = likelihood_of_gaussians(TAIL, n_samples=60, distance=2.0, seed=seed)
    assert distance_between(estimate_prior(likelihood, TAIL), TAIL) < 0.03
    # Of which the rows by themselves would tell otherwise.
    assert distance_between(_prior._likeliest_prior(likelihood), TAIL) > 0.06


@pytest.mark.parametrize("seed", range(5))
def test_few_rows_that_cannot_follow_the_labels_are_taken_at_their_word(seed):
    likelihood, drawn = likelihood_of_gaussians(TAIL[::-1], n_samples=60, distance=3.0, seed=seed)
    assert distance_between(estimate_prior(likelihood, TAIL), drawn) < 0.12
    np.testing.assert_allclose(estimate_prior(likelihood, TAIL), estimate_prior(likelihood, EVEN), atol=0.02)


def test_between_the_two_the_estimate_is_a_mean_of_both():
    likelihood, _ = likelihood_of_gaussians(EVEN, n_samples=25, distance=2.0)
    own, labeled = _prior._likeliest_prior(likelihood), np.array([0.4, 0.3, 0.1, 0.1, 0.1])
    gain = _prior._log_ratio(likelihood, own, labeled) - 2 * np.log(25)
    for odds in (1, 3):
        estimate = estimate_prior(likelihood, labeled, spurious_gain=(gain - np.log(odds)) / 25)
        np.testing.assert_allclose(estimate, (odds * own + labeled) / (odds + 1))


def test_a_gain_that_was_to_be_expected_proves_nothing():
    likelihood, drawn = likelihood_of_gaussians(TAIL[::-1], n_samples=500)
    assert distance_between(estimate_prior(likelihood, TAIL, spurious_gain=0.1), drawn) < 0.05
    np.testing.assert_allclose(estimate_prior(likelihood, TAIL, spurious_gain=10.0), TAIL)


def test_few_doubtful_rows_do_not_make_a_class_vanish(monkeypatch):
    likelihood, _ = likelihood_of_gaussians(EVEN, n_samples=40, distance=1.0, seed=1)
    assert _prior._likeliest_prior(likelihood).min() > 0.1
    monkeypatch.setattr(_prior, "_ROWS_OF_DOUBT", 0.0)
    assert _prior._likeliest_prior(likelihood).min() < 0.05


def test_order_of_classes_and_rows_does_not_count(rng):
    likelihood, _ = likelihood_of_gaussians(TAIL, n_samples=500)
    order = np.array([3, 0, 4, 1, 2])
    estimate = estimate_prior(likelihood, TAIL)
    np.testing.assert_allclose(estimate_prior(likelihood[:, order], TAIL[order]), estimate[order])
    np.testing.assert_allclose(estimate_prior(rng.permutation(likelihood), TAIL), estimate)


# ------------------------------------------------------------------------------------------------ by neighbours


def rows_of_gaussians(n_labeled, unlabeled_prior, distance=3.0, seed=0):
    """Return rows, and their labels with -1 for those without; of which the class frequencies are returned too."""
    rng, n_classes = np.random.default_rng(seed), len(n_labeled)
    hidden = rng.choice(n_classes, p=unlabeled_prior, size=1500)
    true = np.concatenate([np.repeat(np.arange(n_classes), n_labeled), hidden])
    rows = distance * np.eye(n_classes)[true] + rng.normal(size=(len(true), n_classes))
    y = np.where(np.arange(len(true)) < sum(n_labeled), true, -1)
    return rows.astype(np.float32), y, np.bincount(hidden, minlength=n_classes) / len(hidden)


def by_neighbors(rows, y, n_classes=5, seed=0):
    return consult_neighbors(lambda known: rows, y, n_classes, torch.Generator().manual_seed(seed)).prior


def trust_in_neighbors(rows, y, n_classes=5):
    return consult_neighbors(lambda known: rows, y, n_classes, torch.Generator().manual_seed(0)).trust


@pytest.mark.parametrize("prior", [TAIL, EVEN, TAIL[::-1]], ids=["consistent", "uniform", "reversed"])
def test_neighbors_tell_how_frequent_classes_are(prior):
    rows, y, drawn = rows_of_gaussians([60, 25, 10, 4, 3], prior, distance=4.0)
    before = rows.copy(), y.copy()
    estimate = by_neighbors(rows, y)
    assert np.abs(estimate - drawn).sum() / 2 < 0.05
    assert estimate.sum() == pytest.approx(1)
    assert estimate.min() > 0
    np.testing.assert_array_equal(rows, before[0])
    np.testing.assert_array_equal(y, before[1])


def test_held_out_rows_tell_what_votes_are_worth(monkeypatch):
    rows, y, drawn = rows_of_gaussians([60, 25, 10, 4, 3], TAIL[::-1], distance=2.0)
    scaled = by_neighbors(rows, y)
    monkeypatch.setattr(_Scaling, "fit", classmethod(lambda cls, votes, y, sizes: cls()))
    as_they_are = by_neighbors(rows, y)
    assert np.abs(scaled - drawn).sum() < 0.8 * np.abs(as_they_are - drawn).sum()


def rows_whose_votes_drift(unlabeled_prior, seed):
    """Return rows, labels and frequencies: a class that is spread wide has neighbours of the other one."""
    rng = np.random.default_rng(seed)
    hidden = rng.choice(2, p=unlabeled_prior, size=600)
    true = np.concatenate([np.repeat([0, 1], [80, 20]), hidden])
    rows = (1 + true[:, None]) * rng.normal(size=(700, 8))
    rows[:, 0] += true
    return rows.astype(np.float32), np.where(np.arange(700) < 100, true, -1), np.bincount(hidden) / 600


def test_held_out_rows_tell_how_far_votes_drift_by_themselves(monkeypatch):
    problems = [rows_whose_votes_drift([0.8, 0.2], seed) for seed in range(4)]

    def mean_distance():
        return np.mean([distance_between(by_neighbors(rows, y, n_classes=2), drawn) for rows, y, drawn in problems])

    with_it = mean_distance()
    monkeypatch.setattr(_prior, "_OPTIMISM", 0.0)
    assert with_it < 0.1 < 0.2 < mean_distance()


def test_votes_that_drift_still_tell_a_clear_difference():
    rows, y, drawn = rows_whose_votes_drift([0.2, 0.8], seed=0)
    assert distance_between(by_neighbors(rows, y, n_classes=2), drawn) < 0.1


def test_neighbors_are_trusted_as_far_as_held_out_rows_are_like_them():
    rows, y, _ = rows_of_gaussians([60, 25, 10, 4, 3], TAIL, distance=4.0)
    assert trust_in_neighbors(rows, y) == 1
    # Close together by what has nothing to do with their class: votes are few, sure, and often wrong.
    rng = np.random.default_rng(1)
    clusters = 2 * rng.normal(size=(60, 8))[rng.integers(60, size=len(rows))] + 0.5 * rng.normal(size=(len(rows), 8))
    misled = trust_in_neighbors(np.concatenate([rows, clusters], axis=1).astype(np.float32), y)
    assert 0.2 < misled < 0.7
    assert trust_in_neighbors(clusters.astype(np.float32), y) < 0.1


@pytest.mark.parametrize(("sharpness", "trust"), [(0.5, 0.25), (1.0, 1.0), (3.0, 1.0)])
def test_trust_is_the_square_of_what_flattens_the_votes(sharpness, trust, monkeypatch):
    monkeypatch.setattr(_Scaling, "fit", classmethod(lambda cls, votes, y, sizes: cls(np.log(sharpness))))
    rows, y, _ = rows_of_gaussians([60, 25, 10, 4, 3], TAIL)
    assert trust_in_neighbors(rows, y) == pytest.approx(trust)


def test_neighbors_that_nothing_speaks_against_are_trusted():
    rows, y, _ = rows_of_gaussians([1, 1, 1, 1, 1], EVEN)
    assert trust_in_neighbors(rows, y) == 1


@pytest.mark.parametrize("n_labeled", [[20, 5, 1, 1, 1], [1, 1, 1, 1, 1], [2, 1, 1, 1, 1], [6, 1, 1, 1, 1]], ids=str)
def test_classes_of_a_single_row_have_none_to_hold_out(n_labeled):
    rows, y, drawn = rows_of_gaussians(n_labeled, EVEN, distance=6.0)
    np.testing.assert_allclose(by_neighbors(rows, y), drawn, atol=0.08)


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_say_nothing_of_their_class_do_not_make_one_vanish(seed):
    rows = np.random.default_rng(seed).normal(size=(500, 4)).astype(np.float32)
    estimate = by_neighbors(rows, np.array([0] * 40 + [1] * 10 + [-1] * 450), n_classes=2)
    assert 0.3 < estimate[0] < 0.85  # between what is as good as any guess and what the labels say


def test_no_more_rows_are_held_out_than_it_takes(monkeypatch):
    def fit(cls, votes, y, sizes):
        seen.append(len(y))
        return cls()

    seen = []
    monkeypatch.setattr(_Scaling, "fit", classmethod(fit))
    rows, y, _ = rows_of_gaussians([60, 25, 10, 4, 1], EVEN)
    by_neighbors(rows, y)
    monkeypatch.setattr(_prior, "_MOST_HELD_OUT", 30)
    by_neighbors(rows, y)
    assert seen == [99, 30]


def test_rows_held_out_have_no_part_in_where_they_lie():
    def places(known):
        told.append(known)
        return rows.copy()

    told = []
    rows, y, _ = rows_of_gaussians([60, 25, 10, 4, 1], EVEN)
    consult_neighbors(places, y, 5, torch.Generator().manual_seed(0))
    hidden = [np.flatnonzero(known != y) for known in told]
    assert all((known[rows_hidden] == -1).all() for known, rows_hidden in zip(told, hidden, strict=True))
    np.testing.assert_array_equal(np.sort(np.concatenate(hidden)), np.arange(99))  # all but the only one of its class
    assert [len(rows_hidden) for rows_hidden in hidden[:-1]] == [20, 20, 20, 20, 19]
    np.testing.assert_array_equal(told[-1], y)


def test_neighbors_are_looked_for_anew_only_in_other_places(monkeypatch):
    def graph(places, n_neighbors):
        searched.append(places)
        return neighbor_graph(places, n_neighbors)

    searched = []
    monkeypatch.setattr(_prior, "neighbor_graph", graph)
    rows, y, _ = rows_of_gaussians([60, 25, 10, 4, 3], EVEN)
    by_neighbors(rows, y)
    assert len(searched) == 1
    consult_neighbors(lambda known: rows.copy(), y, 5, torch.Generator())
    assert len(searched) == 1 + 6  # five folds, and all labels


def test_a_class_of_a_single_row_does_not_count_against_itself():
    votes = np.tile([[0.6, 0.1, 0.3], [0.1, 0.6, 0.3]], (20, 1)).astype(np.float32)
    told, sizes = np.tile([0, 1], 20), np.array([20, 20, 1])
    assert _Scaling.fit(votes, told, sizes).size_exponent == pytest.approx(0, abs=1e-3)


def test_the_folds_come_from_the_generator():
    rows, y, _ = rows_of_gaussians([60, 25, 10, 4, 3], EVEN)
    np.testing.assert_array_equal(by_neighbors(rows, y), by_neighbors(rows, y))
    assert not np.array_equal(by_neighbors(rows, y), by_neighbors(rows, y, seed=1))


@pytest.mark.parametrize(("sharpness", "exponent"), [(1.0, 0.0), (2.0, 0.0), (0.5, 0.3), (1.5, -0.4)])
def test_votes_are_scaled_to_mean_what_they_say(sharpness, exponent):
    rng = np.random.default_rng(0)
    sizes = np.array([1000, 200, 50])
    votes = rng.dirichlet(np.ones(3), size=60_000)
    proba = votes**sharpness * sizes**exponent
    proba /= proba.sum(axis=1, keepdims=True)
    y = (proba.cumsum(axis=1) > rng.random((len(proba), 1))).argmax(axis=1)
    # As frequent as that makes them. Fitting weighs classes to be equally frequent, so they are drawn to be.
    fewest = np.bincount(y).min()
    keep = np.concatenate([np.flatnonzero(y == c)[:fewest] for c in range(3)])
    balanced = proba / np.bincount(y)
    balanced = (balanced / balanced.sum(axis=1, keepdims=True))[keep]
    logits = _Scaling.fit(votes[keep].astype(np.float32), y[keep], sizes)(votes[keep].astype(np.float32), sizes)
    found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(found - balanced).mean() < 0.05
