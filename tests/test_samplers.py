"""Random batches follow their weights and nothing but the generator given."""

from itertools import combinations

import numpy as np
import pytest
import torch

from skdmlpl.samplers import class_balanced_weights, weighted_sampler


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw_pass(weights, batch_size, labels=None, seed=0):
    """Return the batches (n_batches, batch_size) of one pass."""
    draw = weighted_sampler(weights, batch_size, generator(seed), labels)
    return np.array([draw() for _ in range(-(-np.count_nonzero(weights) // batch_size))])


@pytest.mark.parametrize("weights", [[1, 0, 3, 0.5, 0, 5.5], [0, 0, 1], [1e-3, 1e3], [1] * 7], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 1000])
def test_a_pass_has_each_row_as_often_as_its_weight_says(weights, scale, batch_size):
    weights = np.asarray(weights, dtype=float)
    batches = draw_pass(scale * weights, batch_size)
    expected = batches.size * weights / weights.sum()
    assert (np.abs(np.bincount(batches.ravel(), minlength=len(weights)) - expected) < 1).all()


def test_over_many_passes_what_is_rounded_off_evens_out():
    weights = np.array([1.0, 0.3, 0.05, 0.7])
    draw = weighted_sampler(weights, 2, generator(), np.array([0, 1, 1, 0]))
    counts = np.bincount(np.concatenate([draw() for _ in range(8000)]), minlength=4)
    np.testing.assert_allclose(counts / counts.sum(), weights / weights.sum(), atol=0.01)


def test_every_batch_has_the_share_of_each_class(rng):
    labels = rng.choice(4, p=[0.7, 0.2, 0.09, 0.01], size=1000)
    weights = rng.random(1000)
    batches = draw_pass(weights, 64, labels)
    share = np.bincount(labels, weights=weights) / weights.sum()
    counts = np.array([np.bincount(labels[batch], minlength=4) for batch in batches])
    assert len(batches) == 16
    assert (np.abs(counts - 64 * share) < 2).all()
    # Rows drawn independently, or without regard to their class, do not manage that.
    unaware = np.array([np.bincount(labels[batch], minlength=4) for batch in draw_pass(weights, 64)])
    assert (np.abs(unaware - 64 * share) >= 2).any()


def test_rows_of_a_class_meet_in_all_combinations():
    draw = weighted_sampler(np.ones(6), 3, generator(), np.array([0, 0, 0, 1, 1, 1]))
    met = {frozenset(draw().tolist()) for _ in range(400)}
    # Two of one class and one of the other, of 3 rows each.
    assert met == {frozenset(rows) for rows in combinations(range(6), 3)} - {frozenset({0, 1, 2}), frozenset({3, 4, 5})}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
def test_rows_of_weight_zero_are_never_drawn(dtype):
    weights = np.array([0, 1, 0, 0, 1, 1, 0], dtype=dtype)
    assert set(weighted_sampler(weights, 2000, generator())()) == {1, 4, 5}


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53, 1.0])
def test_ends_of_the_interval_are_rows_with_weight(monkeypatch, uniform):
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, uniform, dtype=torch.float64))
    assert set(weighted_sampler(np.array([0.0, 2.0, 0.0, 2.0, 0.0]), 9, generator())()) == {1, 3}


def test_the_first_batches_of_a_pass_are_like_the_others():
    # The second stratum holds a row of either class: which batch gets which is a matter of chance.
    labels = np.array([0, 0, 0, 1])
    first = [weighted_sampler(np.ones(4), 2, generator(seed), labels)() for seed in range(200)]
    assert np.mean([3 in batch for batch in first]) == pytest.approx(0.5, abs=0.15)


def test_many_light_rows_beside_a_heavy_one_are_drawn():
    weights = np.r_[2.0**24, np.ones(2**20)].astype(np.float32)
    index = weighted_sampler(weights, 4000, generator())()
    assert np.mean(index > 0) == pytest.approx(1 / 17, abs=0.02)


def test_batches_follow_the_generator_alone():
    weights = np.random.default_rng(0).random(50)
    state = torch.get_rng_state()
    draw, again, other = (weighted_sampler(weights, 16, generator(seed)) for seed in (0, 0, 1))
    first, second = draw(), draw()
    np.testing.assert_array_equal(first, again())
    np.testing.assert_array_equal(second, again())
    assert (first != second).any()
    assert (first != other()).any()
    assert torch.equal(torch.get_rng_state(), state)
    assert first.shape == (16,)
    assert first.dtype == np.int64


def test_later_changes_of_the_weights_do_not_count():
    weights = np.array([1.0, 0.0])
    draw = weighted_sampler(weights, 100, generator())
    weights[:] = 0, 1
    assert set(draw()) == {0}


@pytest.mark.parametrize("weights", [[], [0.0, 0.0]])
def test_without_a_positive_weight_there_is_nothing_to_draw(weights):
    with pytest.raises(ValueError, match=r"weighted_sampler needs at least one positive weight. Got none"):
        weighted_sampler(np.array(weights), 4, generator())


def test_balanced_weights_agree_with_naive_loops(rng):
    labels = rng.choice([-1, 0, 1, 3, 4], p=[0.3, 0.5, 0.15, 0.04, 0.01], size=500)
    weights = rng.random(500) * (rng.random(500) < 0.8)
    expected = [
        0 if label < 0 else weight / sum(w for w, other in zip(weights, labels, strict=True) if other == label)
        for weight, label in zip(weights, labels, strict=True)
    ]
    balanced = class_balanced_weights(labels, weights)
    np.testing.assert_allclose(balanced, expected)
    for c in (0, 1, 3, 4):
        assert balanced[labels == c].sum() == pytest.approx(1)


def test_a_class_of_weight_zero_stays_at_zero():
    balanced = class_balanced_weights(np.array([0, 1, 1, 2]), np.array([0.0, 1e-300, 0.0, 2.0]))
    np.testing.assert_allclose(balanced, [0, 1, 0, 1])


def test_without_labels_all_weights_are_zero():
    np.testing.assert_array_equal(class_balanced_weights(np.array([-1, -1]), np.ones(2)), [0, 0])


def test_balanced_weights_leave_their_arguments_alone():
    labels, weights = np.array([0, 0, -1]), np.array([1.0, 3.0, 1.0])
    labels.flags.writeable = weights.flags.writeable = False
    np.testing.assert_array_equal(class_balanced_weights(labels, weights), [0.25, 0.75, 0])
