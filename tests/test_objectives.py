"""What the two losses draw, and what they pull the network towards."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from skdmlpl import _objectives
from skdmlpl._objectives import classification_objective, metric_objective
from skdmlpl._rows import Rows
from skdmlpl.losses import ContrastiveLoss

# Class sizes 40, 8 and 2, then unlabelled rows.
LABELS = np.repeat([0, 1, 2, -1], [40, 8, 2, 30])
WEIGHTS = np.where(LABELS >= 0, 1.0, 0.0)
UNLABELED = np.flatnonzero(LABELS < 0)
# Each row's only value is its number.
ROWS = Rows(np.arange(len(LABELS), dtype=np.float32)[:, None])


class Uninformed(nn.Module):
    """Says the same of every row, and keeps what it was shown."""

    def __init__(self, n_classes=3):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_classes))
        self.seen = []

    def forward(self, batch):
        self.seen.append(batch[:, 0].detach().numpy())
        return batch, self.bias.expand(len(batch), -1)


def as_is(batch, generator):
    return batch


def classification(network, weights=WEIGHTS, labels=LABELS, proba=None, mixup_alpha=0.2, augment=None, seed=0):
    return classification_objective(
        network,
        ROWS,
        labels,
        weights,
        3,
        proba=proba,
        mixup_alpha=mixup_alpha,
        batch_size=64,
        augment=augment,
        generator=torch.Generator().manual_seed(seed),
    )


def mean_gradient(network, objective, n_draws=200):
    network.zero_grad()
    for _ in range(n_draws):
        (objective.draw()[0] / n_draws).backward()
    return network.bias.grad.numpy()


WEIGHTINGS = {
    "given": WEIGHTS,
    "rare class weighs more": np.choose(LABELS + 1, [0.0, 0.1, 1.0, 5.0]),
    "pseudo-labelled": np.where(LABELS >= 0, 1.0, 0.3),
}


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weights", WEIGHTINGS.values(), ids=WEIGHTINGS)
def test_a_network_that_knows_nothing_says_so_whatever_the_class_frequencies(weights, soft):
    """The frequencies of what the rows drawn aim at are made up for: equal logits are best where rows tell nothing."""
    labels = np.where(LABELS < 0, 1, LABELS)
    proba = np.eye(3, dtype=np.float32)[labels]
    if soft:
        proba[LABELS < 0] = 0.1, 0.5, 0.4
    network = Uninformed()
    objective = classification(network, weights, labels, proba if soft else None)
    assert np.abs(mean_gradient(network, objective)).max() < 0.02
    frequency = weights @ proba / weights.sum()
    with torch.no_grad():
        network.bias.copy_(torch.from_numpy(frequency).log())
    assert np.abs(mean_gradient(network, objective)).max() > 0.05


def test_logits_that_tell_the_class_have_a_lower_loss():
    class Informed(Uninformed):
        def forward(self, batch):
            classes = torch.bucketize(batch[:, 0], torch.tensor([39.5, 47.5]))
            return batch, 3.0 * nn.functional.one_hot(classes, 3)

    assert classification(Informed()).draw()[0] < 0.9 * classification(Uninformed()).draw()[0]


def test_a_row_aims_at_its_probabilities():
    proba = np.full((len(LABELS), 3), [0.2, 0.5, 0.3], dtype=np.float32)
    network = Uninformed()
    objective = classification(network, labels=np.zeros_like(LABELS), weights=np.ones(len(LABELS)), proba=proba)
    # All frequencies are those of every row: what is left is the cross-entropy of the distribution with itself.
    expected = -(proba[0] * np.log(proba[0])).sum()
    np.testing.assert_allclose(objective.draw()[0].item(), expected, rtol=1e-5)


def test_rows_are_mixed_and_rows_without_weight_never_drawn():
    network = Uninformed()
    objective = classification(network, weights=np.where(LABELS > 0, WEIGHTS, 0.0))  # rows 40 to 49
    for _ in range(20):
        objective.draw()
    seen = np.concatenate(network.seen)
    assert seen.min() >= 40 - 1e-4
    assert seen.max() <= 49 + 1e-4
    whole = np.isclose(seen, np.round(seen), atol=1e-3)
    assert 0.05 < (~whole).mean() < 0.9


def test_every_batch_has_the_share_of_each_class():
    drawn = []
    objective = classification(Uninformed(), augment=lambda batch, _: drawn.append(batch[:, 0].int()) or batch)
    for _ in range(100):
        objective.draw()
    counts = np.array([np.bincount(LABELS[rows], minlength=3) for rows in drawn])
    assert (np.abs(counts - 64 * np.array([40, 8, 2]) / 50) < 2).all()


@pytest.mark.parametrize(("mixup_alpha", "mean", "slack"), [(1e-3, 1.0, 0.01), (1.0, 0.75, 0.02)])
def test_the_larger_share_of_a_mixed_row_is_that_of_the_beta_distribution(monkeypatch, mixup_alpha, mean, slack):
    shares = []
    monkeypatch.setattr(_objectives, "_mix", lambda batch, partner, share: shares.append(share) or batch)
    objective = classification(Uninformed(), mixup_alpha=mixup_alpha)
    for _ in range(40):
        objective.draw()
    assert torch.cat(shares).mean().item() == pytest.approx(mean, abs=slack)


def test_a_class_of_no_weight_does_not_make_the_loss_infinite():
    network = Uninformed()
    (loss,) = classification(network, weights=np.where(LABELS == 2, 0.0, WEIGHTS)).draw()
    loss.backward()
    assert loss.isfinite()
    assert network.bias.grad.isfinite().all()


def test_classification_augments_where_asked_to():
    def shift(batch, generator):
        return batch + 1000

    altered, plain = Uninformed(), Uninformed()
    classification(altered, augment=shift).draw()
    classification(plain).draw()
    assert altered.seen[0].min() >= 1000 > plain.seen[0].max()


def test_a_metric_loss_shares_the_pass_of_the_classification_loss():
    network, given = Uninformed(), []

    def keep(embeddings, labels):
        given.append((embeddings[:, 0].numpy(), labels.numpy()))
        return embeddings.sum()

    objective = classification_objective(
        network, ROWS, LABELS, WEIGHTS, 3, mixup_alpha=0.2, batch_size=64, augment=None, metric_loss=keep,
        metric_weight=0.2, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    alone, _ = classification(Uninformed()).draw(), objective.draw()
    both = objective.draw()
    assert objective.weights == (1.0, 0.2)
    assert len(both) == len(objective.names) == 2
    assert len(network.seen) == len(given) == 2  # one pass each
    for seen, (rows, labels) in zip(network.seen, given, strict=True):
        np.testing.assert_array_equal(rows, seen)
        # Most of a mixed row is of its label's class: rows 0 to 39, 40 to 47 and 48 to 49.
        whole = np.isclose(rows, np.round(rows), atol=1e-3)
        np.testing.assert_array_equal(labels[whole], LABELS[np.round(rows[whole]).astype(int)])
    assert len(alone) == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_draws_follow_from_the_generator_alone(seed):
    networks = [Uninformed() for _ in range(3)]
    for i, network in enumerate(networks):
        torch.manual_seed(i)
        classification(network, seed=seed if i < 2 else seed + 1).draw()
    np.testing.assert_array_equal(networks[0].seen[0], networks[1].seen[0])
    assert not np.array_equal(networks[0].seen[0], networks[2].seen[0])


def metric(metric_loss, network, *, unlabeled=UNLABELED, batch_size=32, augment=as_is, weights=WEIGHTS):
    return metric_objective(
        network,
        ROWS,
        LABELS,
        weights,
        unlabeled,
        3,
        metric_loss=metric_loss,
        weight=0.5,
        batch_size=batch_size,
        augment=augment,
        generator=torch.Generator().manual_seed(0),
    )


def metric_batches(n_draws, **params):
    """Row numbers and labels of the batches that a metric loss is given."""
    network, labels = Uninformed(), []

    def keep(embeddings, batch_labels):
        labels.append(batch_labels.numpy())
        return embeddings.sum()

    objective = metric(keep, network, **params)
    for _ in range(n_draws):
        objective.draw()
    return np.array(network.seen).astype(int), np.array(labels)


@pytest.mark.parametrize("batch_size", [8, 32])
def test_unlabelled_rows_come_as_two_views_under_an_id_of_their_own(batch_size):
    rows, labels = metric_batches(20, batch_size=batch_size)
    assert rows.shape == labels.shape == (20, batch_size)
    for row, label in zip(rows, labels, strict=True):
        is_class = label < 3
        np.testing.assert_array_equal(label[is_class], LABELS[row[is_class]])
        assert set(row[~is_class]) <= set(UNLABELED)
        ids, counts = np.unique(label[~is_class], return_counts=True)
        assert len(ids) > 0
        assert (counts == 2).all()
        assert all(len(set(row[label == i])) == 1 for i in ids)


def test_classes_are_drawn_equally_often_and_rows_within_them_by_weight():
    weights = WEIGHTS.copy()
    weights[:20] = 0.25
    rows, labels = metric_batches(300, weights=weights)
    counts = np.bincount(labels[labels < 3])
    np.testing.assert_allclose(counts / counts.sum(), 1 / 3, atol=0.02)
    for batch_labels in labels:  # in every batch, too
        counts = np.bincount(batch_labels[batch_labels < 3], minlength=3)
        assert (np.abs(counts - counts.sum() / 3) < 2).all()
    assert (rows < 20).sum() / (rows < 40).sum() == pytest.approx(0.2, abs=0.03)


def test_without_unlabelled_rows_all_rows_are_labelled():
    _, labels = metric_batches(3, unlabeled=np.empty(0, dtype=int))
    assert labels.shape == (3, 32)
    assert labels.max() < 3


@pytest.mark.parametrize("n_unlabeled", [1, 2])
def test_few_unlabelled_rows_are_enough(n_unlabeled):
    rows, labels = metric_batches(5, unlabeled=UNLABELED[:n_unlabeled])
    assert set(rows[labels >= 3]) <= set(UNLABELED[:n_unlabeled])


def test_the_two_views_are_altered_differently():
    def shift(batch, generator):
        return batch + 0.5 * torch.rand(batch.shape, generator=generator)

    network = Uninformed()
    metric(ContrastiveLoss(), network, unlabeled=UNLABELED[:1], augment=shift).draw()
    first, second = network.seen[0][-2:]
    assert int(first) == int(second) == UNLABELED[0]
    assert first != second


def test_metric_objective_carries_the_gradient_and_its_weight():
    class Learning(Uninformed):
        def forward(self, batch):
            embeddings = torch.cat([batch * self.bias, torch.ones_like(batch)], dim=1)
            return embeddings, embeddings

    network = Learning(1)
    objective = metric(ContrastiveLoss(), network)
    with torch.no_grad():
        network.bias.fill_(0.1)
    (loss,) = objective.draw()
    loss.backward()
    assert objective.weights == (0.5,)
    assert network.bias.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        (lambda e: 0.0, "float"),
        (lambda e: None, "NoneType"),
        (lambda e: e.sum(dim=1), r"a tensor of shape \(32,\) and dtype torch.float32"),
        (lambda e: e.sum().view(1), r"a tensor of shape \(1,\) and dtype torch.float32"),
        (lambda e: {"loss": e.sum()}, "dict"),
    ],
    ids=["float", "None", "a loss per row", "one axis", "dict"],
)
def test_a_metric_loss_that_is_no_scalar_is_named(returned, got):
    objective = metric(lambda embeddings, labels: returned(embeddings), Uninformed())
    with pytest.raises(
        TypeError, match=rf"The 'metric_loss' parameter of .* must .* scalar tensor\. Got {got} instead"
    ):
        objective.draw()


@pytest.mark.parametrize(
    "build", [classification, partial(metric, ContrastiveLoss())], ids=["classification", "metric"]
)
@pytest.mark.parametrize(
    ("altered", "got"),
    [
        (lambda batch: batch.numpy(), "ndarray"),
        (lambda batch: None, "NoneType"),
        (lambda batch: batch[1:], "a tensor of shape"),
        (lambda batch: batch.repeat(1, 2), "a tensor of shape"),
        (lambda batch: batch.to(torch.float16), "a tensor of shape .* and dtype torch.float16"),
    ],
    ids=["array", "None", "a row too few", "more columns", "another dtype"],
)
def test_an_augmentation_that_returns_no_such_batch_is_named(build, altered, got):
    objective = build(Uninformed(), augment=lambda batch, generator: altered(batch))
    with pytest.raises(TypeError, match=f"The 'augmentation' parameter of .* must .* the batch, .* Got {got}"):
        objective.draw()
