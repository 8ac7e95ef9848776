"""The network for tables: its standardisation against numpy, and both of its branches."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from skdmlpl._mlp import MANY_COLUMNS
from skdmlpl._rows import Rows
from skdmlpl.backbones import mlp

widths = pytest.mark.parametrize("n_features", [1, MANY_COLUMNS - 1, MANY_COLUMNS, 150])


def adapted(X, sizes=None, **params):
    torch.manual_seed(0)
    network = mlp(X.shape[1:], **params).eval()
    network.adapt(Rows(X, dtype=torch.float64).batches(sizes))
    return network


@pytest.mark.parametrize("size", [1, 7, None])
def test_adapt_agrees_with_numpy(size):
    rng = np.random.default_rng(0)
    X = rng.normal([0, 5, -1e6, 1.7e9, 1e30, 1e-30], [1, 0.1, 10, 1e-2, 1e29, 1e-31], (50, 6))
    network = adapted(X, size)
    mean, scale = network.mean.numpy(), network.scale.numpy()
    np.testing.assert_allclose(mean, X.mean(0))
    # The fourth column has 16 digits, of which its spread is the last five.
    np.testing.assert_allclose(scale, 1 / X.std(0), rtol=1e-3)
    np.testing.assert_allclose(np.delete(scale, 3), 1 / np.delete(X.std(0), 3), rtol=1e-9)


@pytest.mark.parametrize("constant", [0.0, 1.0, 1e30, -1e-30, 0.1])
def test_constant_columns_are_left_out(constant):
    X = np.random.default_rng(0).normal(size=(33, 3))
    X[:, 1] = constant
    network = adapted(X, 5)
    rows = torch.from_numpy(X)
    moved, moved_elsewhere = rows.clone(), rows.clone()
    moved[:, 1] += 1e6
    moved_elsewhere[:, 0] += 1
    assert torch.equal(network(moved), network(rows))
    assert not torch.allclose(network(moved_elsewhere), network(rows))


@pytest.mark.parametrize("n_features", [4, MANY_COLUMNS])
def test_columns_count_by_what_they_tell_of_the_classes(rng, n_features):
    y = np.repeat([0, 1], [40, 10])
    X = rng.normal(size=(50, n_features))
    X[:, 0] = 1e6 + 100 * X[:, 0]
    X[:, 1] = 1e-3 * X[:, 1] + 2e-3 * y
    X[:, 3] = 1  # tells nothing, whatever it is divided by
    X[:, 4:] *= np.geomspace(1, 1e3, n_features - 4)  # each in a unit of its own, however many there are
    network = adapted(X)
    assert torch.equal(network.amplitude, torch.ones(n_features))
    pairs = [(torch.from_numpy(X[part]), torch.from_numpy(y[part])) for part in (slice(30), slice(30, 50))]
    network.adapt_to_labels(pairs, 2)
    before = network.amplitude.clone()
    weights = before.square()
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))
    assert weights[1] > 5 * weights[[0, 2, 3]].max()
    network.adapt_to_labels(pairs, 2)  # learns anew
    assert torch.equal(network.amplitude, before)
    # Near is what is near in this column, for the network and for neighbours.
    rows = torch.from_numpy(X[:1]).repeat(3, 1)
    rows[1, 1] += 1e-3
    rows[2, 2] += 1
    with torch.no_grad():
        features = network(rows)
        places = network.neighbor_features(features, rows)
    for vectors in (features, places, places[:, 128:]):  # the last are the rows themselves
        assert (vectors[1] - vectors[0]).norm() > 2 * (vectors[2] - vectors[0]).norm()


def test_tails_are_looked_for_in_columns_that_vary_and_have_a_unit_of_their_own():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, MANY_COLUMNS - 1))
    X[:, 3] = np.exp(3 * X[:, 3])
    X[:, 5] = 1e9 + 1e-7 * np.exp(2 * X[:, 5])  # constant but for rounding
    assert adapted(X).normal_scores.columns.tolist() == [3]
    alike = np.exp(3 * rng.normal(size=(400, MANY_COLUMNS)))
    assert len(adapted(alike).normal_scores.columns) == 0
    other_units = alike * 10.0 ** np.arange(MANY_COLUMNS)
    assert len(adapted(other_units).normal_scores.columns) == MANY_COLUMNS


@widths
def test_output_has_the_width_asked_for_and_every_parameter_learns(n_features):
    X = np.random.default_rng(0).normal(size=(32, n_features))
    network = adapted(X, embedding_dim=5, hidden=16, depth=3).train()
    output = network(torch.from_numpy(X))
    assert output.shape == (32, 5 if n_features < MANY_COLUMNS else 5 + n_features)
    assert output.dtype == torch.float32
    output.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@widths
def test_neighbors_are_looked_for_by_features_and_by_rows(n_features):
    """Cosines are a mean of those of the features and, of twice the weight, those of the standardised rows."""
    rows = torch.from_numpy(np.random.default_rng(0).normal(3, 2, (40, n_features)))
    network = adapted(rows.numpy())
    with torch.no_grad():
        features = network(rows) - network(rows).mean(dim=0)
        places = network.neighbor_features(features, rows)
    learned, row = places[:, :128], places[:, 128:]
    assert learned.numpy() == pytest.approx(F.normalize(features[:, :128]).numpy())
    expected = (rows - rows.mean(dim=0)) / (rows.std(dim=0, correction=0) if n_features < MANY_COLUMNS else 1)
    if n_features < MANY_COLUMNS:
        expected = F.pad(expected / (1 + (expected / 3) ** 2) ** 0.5, (0, 1), value=6)
    else:
        scale = (expected**2).mean() ** 0.5  # the same for all columns, as their spreads are alike
        expected = F.normalize(expected / scale / (1 + (expected / scale / 3) ** 2) ** 0.5)
        expected -= expected.mean(dim=0)
    assert row.numpy() == pytest.approx(2**0.5 * F.normalize(expected).numpy(), abs=1e-5)


def test_rows_of_one_direction_are_no_neighbors_if_their_lengths_differ():
    """Not in few columns, where each is a measurement of its own: a vector and its half would be the same place."""
    angles = torch.linspace(0, 6.28, 60, dtype=torch.float64)
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    rows = torch.cat([circle, 0.5 * circle])
    network = adapted(rows.numpy())
    row = network.neighbor_features(torch.zeros(120, 128), rows)[:, 128:]
    between, along = (row[:60] - row[60:]).norm(dim=1), (row[:59] - row[1:60]).norm(dim=1)
    assert between.min() > 3 * along.max()


def test_columns_of_like_spread_are_divided_by_one_number_for_all_but_those_of_another_unit():
    rng = np.random.default_rng(0)
    spreads = rng.uniform(0.3, 3, MANY_COLUMNS)
    X = spreads * rng.normal(size=(200, MANY_COLUMNS))
    common = 1 / np.sqrt(X.var(0).mean())
    np.testing.assert_allclose(adapted(X).scale, common)
    beside = np.column_stack([X, 3000 * rng.normal(size=(200, 2)), np.full(200, 7)])
    scale = adapted(beside).scale.numpy()
    np.testing.assert_allclose(scale[:MANY_COLUMNS], common)
    np.testing.assert_allclose(scale[MANY_COLUMNS:], [*1 / beside[:, -3:-1].std(0), 0])


@widths
def test_columns_may_have_any_location_and_scale(n_features):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, n_features))
    X = (X - X.mean(0)) / X.std(0)  # equal spreads, which columns of like spread are not scaled to
    scaled = (X + rng.normal(size=n_features)) * 2.0 ** rng.integers(-60, 60, n_features)
    torch.testing.assert_close(
        adapted(X)(torch.from_numpy(X)), adapted(scaled)(torch.from_numpy(scaled)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("n_features", "same"), [(MANY_COLUMNS - 1, False), (MANY_COLUMNS, True)])
def test_only_long_rows_are_compared_by_direction(n_features, same):
    network = mlp((n_features,)).eval()  # not adapted: rows are used nearly as they are while small
    rows = 0.001 * torch.randn(8, n_features, dtype=torch.float64)
    change = (network(100 * rows) - network(rows)).abs().max() / network(rows).std()
    assert (change < 0.02) == same


@pytest.mark.parametrize("size", [1, 7, None])
def test_columns_with_two_values_have_no_waves(size):
    rng = np.random.default_rng(0)
    third = np.zeros(60)
    third[[20, 40]] = 1, 0.5
    columns = [rng.normal(size=60), rng.random(60) < 0.1, third, 1e9 + 0.25 * (rng.random(60) < 0.5), np.full(60, 3)]
    network = adapted(np.column_stack(columns), size)
    assert network.network[0].bends.tolist() == [1, 0, 1, 0, 0]
    waves = network.network[0](torch.randn(100, 5))[:, 5:].view(100, 5, -1)
    assert (waves != 0).any(dim=(0, 2)).tolist() == [True, False, True, False, False]


@widths
def test_outliers_are_squashed(n_features):
    X = np.random.default_rng(0).normal(size=(40, n_features))
    network = adapted(X)
    far, farther = torch.full((1, n_features), 1e6).double(), torch.full((1, n_features), 1e12).double()
    assert network(farther).isfinite().all()
    torch.testing.assert_close(network(far), network(farther), rtol=1e-4, atol=1e-4)


def test_dropout_acts_in_training_only():
    rows = torch.randn(4, 10, dtype=torch.float64)
    network = mlp((10,), dropout=0.5)
    assert not torch.equal(network(rows), network(rows))
    network.eval()
    assert torch.equal(network(rows), network(rows))


@pytest.mark.parametrize(("n_features", "share"), [(MANY_COLUMNS - 1, 0.0), (MANY_COLUMNS, 0.0), (500, 0.27)])
def test_wide_rows_lose_a_share_of_their_columns_in_training(n_features, share):
    network = mlp((n_features,), dropout=0.0)
    dropouts = [module for module in network.modules() if isinstance(module, torch.nn.Dropout)]
    assert max(dropout.p for dropout in dropouts) == pytest.approx(share)


def test_wide_rows_are_part_of_the_output():
    rows = torch.randn(8, MANY_COLUMNS, dtype=torch.float64)
    network = mlp((MANY_COLUMNS,), embedding_dim=5).eval()
    kept = network(rows)[:, 5:]
    squashed = rows / (1 + (rows / 3).square()).sqrt()
    expected = squashed / squashed.norm(dim=1, keepdim=True)
    torch.testing.assert_close(kept / kept.norm(dim=1, keepdim=True), expected.float())


@pytest.mark.parametrize("shape", [(3, 8, 8), (), (2, 2)])
def test_shapes_other_than_a_tables_are_refused(shape):
    with pytest.raises(ValueError, match=r"mlp needs tables.*\(n_features,\).*Got \(.*\) instead"):
        mlp(shape)
