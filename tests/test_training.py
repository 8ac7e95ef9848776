"""The training loop, the weight average and the passes that only look."""

import contextlib

import numpy as np
import pytest
import torch
from torch import nn

from skdmlpl._network import build_network
from skdmlpl._objectives import Objective
from skdmlpl._rows import Rows
from skdmlpl._training import (
    Budget,
    Training,
    WeightAverage,
    classify_in_batches,
    compare_in_batches,
    embed_in_batches,
    flush_denormals,
)

BUDGET = Budget(n_steps=100, learning_rate=0.05, weight_decay=0.0)


def distance_to(network, target, weight=1.0, name="distance"):
    return Objective((name,), (weight,), lambda: ((network.weight - target).square().mean(),))


def optimize(network, objectives, budget):
    return Training(network, budget).run(objectives, budget.n_steps)


def test_training_lowers_the_loss_and_reports_its_last_steps():
    network = nn.Linear(3, 2)
    objective = distance_to(network, 1.0)
    before = objective.draw()[0].item()
    (reported,) = optimize(network, [objective], BUDGET)
    assert objective.draw()[0].item() < 0.01 * before
    assert reported < 0.01 * before
    assert not network.training


def test_objectives_count_by_their_weight():
    network = nn.Linear(3, 2)
    reported = optimize(network, [distance_to(network, 1.0), distance_to(network, 0.0, weight=3.0)], BUDGET)
    assert network.weight.detach().numpy() == pytest.approx(0.25, abs=0.03)
    assert reported == pytest.approx([0.75**2, 0.25**2], abs=0.05)  # unweighted


def test_losses_of_one_objective_count_by_their_weights():
    network = nn.Linear(3, 2)

    def both():
        return (network.weight - 1).square().mean(), network.weight.square().mean()

    reported = optimize(network, [Objective(("first", "second"), (1.0, 3.0), both)], BUDGET)
    assert network.weight.detach().numpy() == pytest.approx(0.25, abs=0.03)
    assert reported == pytest.approx([0.75**2, 0.25**2], abs=0.05)


def test_steps_warm_up_and_fade_and_the_average_of_their_ends_stays():
    """Where the slope is the same everywhere, Adam's step is the learning rate."""
    network, path = nn.Linear(1, 1, bias=False), []

    def slope():
        path.append(network.weight.item())
        return (network.weight.sum(),)

    optimize(network, [Objective(("slope",), (1.0,), slope)], BUDGET)
    steps = -np.diff(path)
    assert steps.max() == pytest.approx(BUDGET.learning_rate, rel=0.1)
    assert 0 < steps[0] < 0.2 * steps.max()
    assert 0 < steps[-1] < 0.03 * steps.max()
    assert 5 <= steps.argmax() <= 20
    assert network.weight.item() > path[-1]  # an average of the way, which leads downwards


def test_decay_is_for_matrices_only():
    network = nn.Linear(3, 2)
    before = network.bias.detach().clone()
    zero = Objective(("nothing",), (1.0,), lambda: (0 * (network.weight.sum() + network.bias.sum()),))
    norm = network.weight.norm().item()
    optimize(network, [zero], Budget(100, 0.05, 1.0))
    assert network.weight.norm().item() < 0.5 * norm
    torch.testing.assert_close(network.bias.detach(), before)


def test_frozen_parameters_stay_equal():
    network = nn.Linear(3, 2)
    network.bias.requires_grad_(False)
    before = network.bias.clone()
    optimize(network, [Objective(("both",), (1.0,), lambda: (network(torch.ones(1, 3)).square().sum(),))], BUDGET)
    assert torch.equal(network.bias, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_loss_that_is_not_finite_is_named(value):
    network = nn.Linear(3, 2)
    calls = []

    def draw():
        calls.append(1)
        return (network.weight.mean() + (value if len(calls) == 3 else 0.0),)

    with pytest.raises(ValueError, match=rf"The second became {value} at step 3 of 100\..* a lower 'learning_rate'"):
        optimize(network, [distance_to(network, 1.0, name="first"), Objective(("second",), (1.0,), draw)], BUDGET)
    assert len(calls) == 3
    assert network.weight.isfinite().all()


def test_a_loss_without_a_gradient_is_no_reason_to_fail():
    network = nn.Linear(3, 2)
    constant = Objective(("constant",), (1.0,), lambda: (torch.tensor(2.0),))
    reported = optimize(network, [constant, distance_to(network, 1.0)], BUDGET)
    assert reported[0] == pytest.approx(2.0)
    assert network.weight.detach().numpy() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("memory", [1.0, 4.0, np.inf])
def test_weight_average_agrees_with_a_naive_one(memory):
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = WeightAverage(network, memory)
    history = []
    for step in range(10):
        with torch.no_grad():
            for tensor in network.state_dict().values():
                tensor.fill_(step**2)
        average.update()
        history.append(step**2)
    expected = 0.0
    for n_seen, value in enumerate(history, start=1):
        decay = min(1 - 1 / memory, 1 - 1 / n_seen)
        expected = decay * expected + (1 - decay) * value
    average.exchange()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            assert tensor.numpy() == pytest.approx(expected, rel=1e-5), name
    assert network.state_dict()["1.num_batches_tracked"] == 81


def test_exchanging_the_average_twice_changes_nothing():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = WeightAverage(network, np.inf)
    for value in (1.0, 3.0):
        with torch.no_grad():
            for tensor in network.parameters():
                tensor.fill_(value)
        average.update()
    average.exchange()
    assert all((tensor == 2).all() for tensor in network.parameters())
    average.exchange()
    assert all((tensor == 3).all() for tensor in network.parameters())


def test_legs_share_one_schedule_and_end_with_the_average():
    """Where the slope is the same everywhere, Adam's step is the learning rate: one path, in legs or in one go."""

    def path_of(*legs):
        network, path, ends = nn.Linear(1, 1, bias=False), [], []
        nn.init.zeros_(network.weight)

        def slope():
            path.append(network.weight.item())
            return (network.weight.sum(),)

        training = Training(network, BUDGET)
        for n_steps in legs:
            training.run([Objective(("slope",), (1.0,), slope)], n_steps)
            ends.append(network.weight.item())
        return path, ends

    path, ends = path_of(40, 30, 30)
    whole, end = path_of(100)
    assert path == whole
    assert ends[-1:] == end
    assert all(weight > path[step] for weight, step in zip(ends, (39, 69, 99), strict=True))  # the way leads downwards
    assert ends[0] < path[25]


def test_compare_in_batches_agrees_with_one_pass():
    X = np.random.default_rng(0).normal(size=(41, 5)).astype(np.float32)
    backbone = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout())
    network = build_network(backbone, torch.from_numpy(X[:2]), n_classes=3).train()
    rows = Rows(X[:10], X[10:])
    rows.batches = lambda index: Rows.batches(rows, 4, index)
    embeddings, logits = compare_in_batches(network, rows)
    assert not network.training
    with torch.no_grad():
        expected = network(torch.from_numpy(X))
    np.testing.assert_allclose(embeddings, expected[0], atol=1e-5)
    np.testing.assert_allclose(logits, expected[1], atol=1e-4)
    assert embeddings.dtype == logits.dtype == np.float32
    np.testing.assert_array_equal(embed_in_batches(network, rows), embeddings)
    np.testing.assert_array_equal(classify_in_batches(network, rows), logits)
    some = np.array([3, 40, 0, 11, 12, 13])
    for part, whole in zip(compare_in_batches(network, rows, some), (embeddings, logits), strict=True):
        np.testing.assert_allclose(part, whole[some], atol=1e-5)


def flushes():
    return (torch.tensor([1e-40], dtype=torch.float32) * 1).item() == 0


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this CPU has no such mode")
@pytest.mark.parametrize("was_on", [False, True])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("default_dtype", [torch.float32, torch.float64])
def test_flush_denormals_acts_inside_and_restores(was_on, fails, default_dtype):
    torch.set_flush_denormal(was_on)
    torch.set_default_dtype(default_dtype)
    try:
        with contextlib.suppress(KeyError), flush_denormals():
            assert flushes()
            if fails:
                raise KeyError
        assert flushes() == was_on
    finally:
        torch.set_flush_denormal(False)
        torch.set_default_dtype(torch.float32)
