"""Random batches follow their weights and nothing but the generator given."""

import numpy as np
import pytest
import torch

from skdmlpl.samplers import class_balanced_weights, weighted_sampler


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("weights", [[1, 0, 3, 0.5, 0, 5.5], [0, 0, 1], [1e-3, 1e3], [1] * 7], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_rows_are_drawn_in_proportion_to_their_weights(weights, scale):
    weights = np.asarray(weights, dtype=float)
    n_drawn = 40_000
    index = weighted_sampler(scale * weights, n_drawn, generator())()
    share = weights / weights.sum()
    error = np.abs(np.bincount(index, minlength=len(weights)) / n_drawn - share)
    assert (error <= 4 * np.sqrt(share * (1 - share) / n_drawn)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
def test_rows_of_weight_zero_are_never_drawn(dtype):
    weights = np.array([0, 1, 0, 0, 1, 1, 0], dtype=dtype)
    assert set(weighted_sampler(weights, 2000, generator())()) == {1, 4, 5}


@pytest.mark.parametrize(("uniform", "row"), [(0.0, 1), (0.4999, 1), (0.5, 3), (1 - 2**-53, 3), (1.0, 3)])
def test_ends_of_the_interval_are_rows_with_weight(monkeypatch, uniform, row):
    monkeypatch.setattr(torch, "rand", lambda n, **_: torch.full((n,), uniform, dtype=torch.float64))
    assert weighted_sampler(np.array([0.0, 2.0, 0.0, 2.0, 0.0]), 1, generator())() == [row]


def test_many_light_rows_beside_a_heavy_one_are_drawn():
    # Summed up in float32, the weights would stay at 2**24 for ever.
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
