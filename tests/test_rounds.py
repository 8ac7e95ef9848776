"""The rounds: admission by class against a naive loop, and what every record promises."""

import copy
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from skdmlpl import _rounds
from skdmlpl._network import build_committee
from skdmlpl._prior import NeighborReport
from skdmlpl._rounds import (
    Plan,
    View,
    admit,
    draw_folds,
    merge,
    propose,
    pseudo_label_rounds,
    pseudo_share,
    softmax,
    worth_of_labels,
)
from skdmlpl._rows import Rows
from skdmlpl._training import Training
from skdmlpl.interfaces import PseudoLabels
from skdmlpl.losses import ContrastiveLoss
from skdmlpl.selectors import ConfidenceSelector

PLAN = Plan(
    n_rounds=3,
    n_steps=6,
    n_later_steps=3,
    batch_size=32,
    learning_rate=2e-3,
    weight_decay=1e-2,
    mixup_alpha=0.2,
    metric_weight=0.3,
)


def naive_admit(proposed, y, share):
    labels, weights = [], []
    for i, given in enumerate(y):
        rivals = [j for j in range(len(y)) if y[j] < 0 and proposed.labels[j] == proposed.labels[i]]
        ahead = sum(
            proposed.weights[j] > proposed.weights[i] or (proposed.weights[j] == proposed.weights[i] and j < i)
            for j in rivals
        )
        admitted = given < 0 <= proposed.labels[i] and ahead < math.ceil(share * len(rivals))
        labels.append(given if given >= 0 else proposed.labels[i] if admitted else -1)
        weights.append(1.0 if given >= 0 else proposed.weights[i] if admitted else 0.0)
    return np.array(labels), np.array(weights)


def proposal(n=60, seed=0, n_classes=4):
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(n) < n_classes, np.arange(n), rng.choice([-1, -1, -1, 0, 1], n))
    labels = rng.choice([-1, 0, 0, 0, 1, 1, 2], n)  # no row is proposed for the last class
    return PseudoLabels(labels, np.round(rng.random(n), 1)), y  # rounded: many ties


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.0, 0.01, 1 / 3, 0.5, 2 / 3, 0.99, 1.0])
def test_admit_agrees_with_a_naive_loop(share, seed):
    proposed, y = proposal(seed=seed)
    before = copy.deepcopy((proposed, y))
    labels, weights, _ = admit(proposed, y, share)
    expected_labels, expected_weights = naive_admit(proposed, y, share)
    np.testing.assert_array_equal(labels, expected_labels)
    np.testing.assert_array_equal(weights, expected_weights)
    np.testing.assert_equal((proposed, y), before)


def test_a_class_of_one_candidate_keeps_it_at_any_share():
    y = np.array([0, 1, -1, -1, -1, -1])
    proposed = PseudoLabels(np.array([0, 1, 1, 0, 0, 0]), np.array([1, 1, 0.01, 0.9, 0.8, 0.7]))
    np.testing.assert_array_equal(admit(proposed, y, 0.1).labels, [0, 1, 1, 0, -1, -1])


@pytest.mark.parametrize("left_out", ["nothing proposed", "nothing unlabelled"])
def test_admit_where_there_is_nothing_to_admit(left_out):
    y = np.array([0, 1, -1] if left_out == "nothing proposed" else [0, 1, 0])
    labels, weights, _ = admit(PseudoLabels(np.full(3, -1), np.ones(3)), y, 1.0)
    np.testing.assert_array_equal(labels, y)
    np.testing.assert_array_equal(weights, y >= 0)


def test_given_labels_are_certain_where_rows_have_probabilities():
    y = np.array([1, 0, -1, -1])
    proba = np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.3, 0.7]])
    proposed = PseudoLabels(np.array([0, 0, 0, 1]), np.array([0.2, 0.2, 0.8, 0.4]), proba)
    before = proba.copy()
    np.testing.assert_allclose(admit(proposed, y, 1.0).proba, [[0, 1], [1, 0], [0.9, 0.1], [0.3, 0.7]], atol=1e-6)
    np.testing.assert_array_equal(proba, before)


def test_admitted_rows_grow_with_the_share():
    proposed, y = proposal()
    coverage = [admit(proposed, y, share).labels >= 0 for share in np.linspace(0, 1, 7)]
    assert all((earlier <= later).all() for earlier, later in pairwise(coverage))
    np.testing.assert_array_equal(coverage[-1], (y >= 0) | (proposed.labels >= 0))


def setup(n=50, n_given=20, seed=0, n_networks=1):
    """Three blobs of sizes about 4:2:1, the first rows labelled."""
    rng = np.random.default_rng(seed)
    truth = np.concatenate([[0, 1, 2], rng.choice(3, n - 3, p=[4 / 7, 2 / 7, 1 / 7])])
    X = rng.normal(size=(n, 4)).astype(np.float32) + 3 * np.eye(3, 4, dtype=np.float32)[truth]
    torch.manual_seed(seed)
    rows = Rows(X)
    backbone = nn.Sequential(nn.Linear(4, 16), nn.ReLU())
    network = build_committee(backbone, rows[slice(2)], 3, n_networks=n_networks)
    return network, rows, np.where(np.arange(n) < n_given, truth, -1)


def rounds(network, rows, y, *, select=None, **others):
    select = select or ConfidenceSelector().select
    return rounds_of(network, rows, y, lambda embeddings, y, proba, trust: select(embeddings, y, proba), **others)


def rounds_of(network, rows, y, select, *, plan=PLAN, metric_loss=None, seed=0):
    return pseudo_label_rounds(
        network,
        rows,
        y,
        3,
        select=select,
        metric_loss=metric_loss or ContrastiveLoss(),
        augment=lambda batch, generator: batch,
        augment_classification=False,
        plan=plan,
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize("n_rounds", [0, 1, 2, 7])
def test_records(n_rounds):
    network, rows, y = setup()
    records = list(rounds(network, rows, y, plan=Plan(n_rounds, 3, 2, 32, 2e-3, 1e-2, 0.2, 0.3)))
    assert [record.round for record in records] == list(range(n_rounds + 1))
    assert records[0].n_pseudo_labeled == 0
    np.testing.assert_allclose(records[0].prior, np.bincount(y[y >= 0]) / 20)
    assert math.isnan(records[0].mean_weight)
    for record in records:
        labels, weights, _ = record.pseudo_labels
        assert labels.shape == weights.shape == (30,)
        assert labels.min() >= -1
        assert labels.max() < 3
        assert weights.min() >= 0
        assert weights.max() <= 1
        assert (weights[labels < 0] == 0).all()
        assert record.prior.sum() == pytest.approx(1)
        assert (record.prior > 0).all()
        assert record.class_counts.sum() == record.n_pseudo_labeled == np.count_nonzero(labels >= 0)
        assert math.isfinite(record.classification_loss)
        assert math.isfinite(record.metric_loss)
        assert record.seconds > 0
    coverage = [record.n_pseudo_labeled for record in records]
    assert coverage == sorted(coverage)
    assert coverage[-1] == (30 if n_rounds else 0)


def test_what_selectors_see_and_what_becomes_of_their_labels():
    seen, proposed = [], []

    def select(*arguments):
        seen.append(copy.deepcopy(arguments))
        proposed.append(ConfidenceSelector().select(*arguments))
        return proposed[-1]

    network, rows, y = setup()
    records = list(rounds(network, rows, y, select=select))
    assert len(seen) == 3
    for i, record in enumerate(records[1:]):
        expected = admit(proposed[i], y, (i + 1) / 3)
        np.testing.assert_array_equal(record.pseudo_labels.labels, expected.labels[y < 0])
        np.testing.assert_array_equal(record.pseudo_labels.weights, expected.weights[y < 0])
    for embeddings, given, proba in seen:
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(given, y)
        assert proba.shape == (50, 3)
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    assert not np.array_equal(seen[0][0], seen[1][0])


def test_folds_share_out_the_unlabelled_rows():
    given = np.arange(50) % 7 < 3
    folds = draw_folds(given, 3, torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(folds.sum(axis=0), ~given)
    sizes = folds.sum(axis=1)
    assert sizes.max() - sizes.min() <= 1
    other = draw_folds(given, 3, torch.Generator().manual_seed(1))
    assert not np.array_equal(folds, other)
    generator = torch.Generator().manual_seed(0)
    np.testing.assert_array_equal(draw_folds(given, 1, generator), [~given])
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())


def test_views_are_put_together_by_row():
    views = [View(np.array(index), None, None) for index in ([0, 2, 3], [1, 2, 4])]
    parts = [np.array([[10.0], [12], [13]]), np.array([[21.0], [22], [24]])]
    np.testing.assert_array_equal(merge(views, parts, 5), [[10], [21], [22], [13], [24]])


def test_what_a_right_label_is_worth():
    """Labels worth one each, and a recall worth thirty: the sum over labels is what the two come to."""
    y = np.array([0] * 40 + [1] * 8 + [2] + [-1] * 100)
    worth = worth_of_labels(np.array([0.9, 0.07, 0.03]), y)
    n_rows = np.array([40 + 90, 8 + 7, 1 + 3])
    np.testing.assert_allclose(worth, 1 + 30 / n_rows)
    for n_right in (n_rows, n_rows // 2, np.array([0, 15, 4])):
        assert n_right @ worth == pytest.approx(n_right.sum() + 30 * (n_right / n_rows).sum())


@pytest.mark.parametrize("n_networks", [1, 2])
def test_selectors_are_told_how_frequent_a_class_is_and_what_a_label_of_it_is_worth(n_networks):
    rng = np.random.default_rng(0)
    y = np.where(np.arange(60) < 20, np.arange(60) % 7 % 3, -1)
    logits = rng.normal(size=(60, 3)).astype(np.float32)
    folds = [(y >= 0) | (np.arange(60) % n_networks == k) for k in range(n_networks)]
    views = [View(np.flatnonzero(fold), np.zeros((60, 2))[fold], logits[fold]) for fold in folds]
    prior = np.array([0.1, 0.2, 0.7])
    seen = []

    def select(embeddings, given, proba):
        seen.append(proba)
        return PseudoLabels(proba.argmax(axis=1), np.ones(len(proba)))

    propose(views, y, prior, select)
    expected = np.exp(logits) * prior * worth_of_labels(prior, y)
    expected /= expected.sum(axis=1, keepdims=True)
    for fold, proba in zip(folds, seen, strict=True):
        np.testing.assert_allclose(proba, expected[fold], rtol=1e-5)


class ComparesRows(nn.Linear):
    """A backbone by which neighbours are looked for by the rows, too."""

    def neighbor_features(self, features, rows):
        return torch.cat([features, rows], dim=1)


def test_the_selector_sees_by_what_the_backbone_looks_for_neighbors():
    seen = []

    def select(embeddings, y, proba):
        seen.append(embeddings)
        return PseudoLabels(proba.argmax(axis=1), np.ones(len(y)), None)

    _, rows, y = setup()
    network = build_committee(ComparesRows(4, 16), rows[slice(2)], 3, n_networks=1)
    list(rounds(network, rows, y, select=select))
    X = rows[np.arange(50)].numpy()
    for places in seen:
        assert places.shape == (50, 20)
        factor = places[:, 16:] / X
        np.testing.assert_allclose(factor, factor[:, :1].repeat(4, axis=1), rtol=1e-3)
        np.testing.assert_allclose(np.linalg.norm(places, axis=1), 1, rtol=1e-5)
    assert len(seen) == 3


@pytest.mark.parametrize("n_networks", [1, 2])
def test_rows_tell_the_class_distribution_before_a_network_has_learned_labels(n_networks, monkeypatch):
    order = []

    def consult(places, y, n_classes, generator):
        order.append(places(y))
        assert places(y) is order[0]
        return NeighborReport(np.array([0.5, 0.3, 0.2]), trust=1.0)

    def train(*args):
        order.append("training")
        return run(*args)

    run = Training.run
    monkeypatch.setattr(_rounds, "consult_neighbors", consult)
    monkeypatch.setattr(Training, "run", train)
    _, rows, y = setup()
    network = build_committee(ComparesRows(4, 16), rows[slice(2)], 3, n_networks=n_networks)
    with torch.no_grad():
        places, _ = network.members[0].eval().compare(rows[np.arange(50)])
    records = list(rounds(network, rows, y))
    np.testing.assert_allclose(order[0], places.numpy(), rtol=1e-5)
    assert order[1:] == ["training"] * 4
    for record in records[1:]:
        np.testing.assert_array_equal(record.prior, [0.5, 0.3, 0.2])


class LearnsOfLabels(ComparesRows):
    def __init__(self):
        super().__init__(4, 16)
        self.register_buffer("mean_label", torch.zeros(()))

    def adapt_to_labels(self, batches, n_classes):
        self.mean_label.fill_(torch.cat([y for _, y in batches]).double().mean())

    def neighbor_features(self, features, rows):
        return torch.cat([self.mean_label.expand(len(rows), 1), rows], dim=1)


def test_rows_lie_where_the_labels_that_are_known_put_them_and_the_network_keeps_what_all_taught_it(monkeypatch):
    def consult(places, y, n_classes, generator):
        for known in (np.where(np.arange(50) < 5, y, -1), y):
            told = places(known)
            np.testing.assert_allclose(told[:, 0] / told[:, 1], known[known >= 0].mean() / rows[:50][:, 0], rtol=1e-4)
        places(np.where(np.arange(50) < 5, y, -1))
        return NeighborReport(np.full(3, 1 / 3), trust=1.0)

    monkeypatch.setattr(_rounds, "consult_neighbors", consult)
    _, rows, y = setup()
    network = build_committee(lambda shape: LearnsOfLabels(), rows[slice(2)], 3, n_networks=2)
    network.adapt(rows, y=y)
    list(rounds(network, rows, y))
    for member in network.members:
        assert member.backbone.mean_label == pytest.approx(y[y >= 0].mean())


def test_where_labels_are_many_rows_lie_where_all_of_them_put_them(monkeypatch):
    def consult(places, y, n_classes, generator):
        assert places(np.where(np.arange(50) < 5, y, -1)) is places(y)
        return NeighborReport(np.full(3, 1 / 3), trust=1.0)

    monkeypatch.setattr(_rounds, "consult_neighbors", consult)
    monkeypatch.setattr(_rounds, "_MANY_LABELED", 10)
    _, rows, y = setup()
    network = build_committee(lambda shape: LearnsOfLabels(), rows[slice(2)], 3, n_networks=1)
    network.adapt(rows, y=y)
    list(rounds(network, rows, y))


def test_of_many_unlabelled_rows_a_sample_is_consulted(monkeypatch):
    def consult(places, y, n_classes, generator):
        seen.append(y)
        np.testing.assert_array_equal(places(y).shape, (len(y), 20))
        return NeighborReport(np.full(3, 1 / 3), trust=1.0)

    seen = []
    monkeypatch.setattr(_rounds, "consult_neighbors", consult)
    _, rows, y = setup()
    for most in (1000, 12):
        monkeypatch.setattr(_rounds, "_MOST_CONSULTED", most)
        list(rounds(build_committee(ComparesRows(4, 16), rows[slice(2)], 3, n_networks=1), rows, y))
    np.testing.assert_array_equal(seen[0], y)
    np.testing.assert_array_equal(np.sort(seen[1]), [-1] * 12 + sorted(y[y >= 0]))


@pytest.mark.parametrize(
    ("backbone", "told"), [(ComparesRows(4, 16), 0.4), (nn.Linear(4, 16), 1.0)], ids=["rows", "no"]
)
def test_neighbors_are_trusted_as_rows_tell_before_training(backbone, told, monkeypatch):
    trusted = []

    def select(embeddings, y, proba, trust):
        trusted.append(trust)
        return ConfidenceSelector().select(embeddings, y, proba)

    monkeypatch.setattr(_rounds, "consult_neighbors", lambda *args: NeighborReport(np.full(3, 1 / 3), trust=0.4))
    _, rows, y = setup()
    list(rounds_of(build_committee(backbone, rows[slice(2)], 3, n_networks=1), rows, y, select))
    assert trusted == [told] * 3


def test_where_rows_are_not_compared_the_network_tells_the_class_distribution(monkeypatch):
    monkeypatch.setattr(_rounds, "consult_neighbors", lambda *args: pytest.fail("nothing to go by"))
    _, first, second, _ = rounds(*setup())
    assert not np.array_equal(first.prior, second.prior)


def test_without_rounds_nobody_asks_for_the_class_distribution(monkeypatch):
    monkeypatch.setattr(_rounds, "consult_neighbors", lambda *args: pytest.fail("of no use"))
    _, rows, y = setup()
    network = build_committee(ComparesRows(4, 16), rows[slice(2)], 3, n_networks=1)
    list(rounds(network, rows, y, plan=replace(PLAN, n_rounds=0)))


@pytest.mark.parametrize("n_networks", [2, 3])
def test_a_network_labels_rows_that_it_has_not_learned_from(n_networks, monkeypatch):
    """Each says of its own fold what the others learn from then on; in the last round all learn from all rows."""
    lessons, compared, seen, looked = [], [], [], []

    def spy_on_lessons(network, rows, labels, weights, *args, **kwargs):
        lessons.append((network, weights))
        return objective(network, rows, labels, weights, *args, **kwargs)

    def spy_on_looks(network, rows, index):
        looked.append((network, index))
        return forward(network, rows, index)

    def select(embeddings, y, proba):
        seen.append((embeddings.copy(), y.copy()))
        return PseudoLabels(proba.argmax(axis=1), np.ones(len(y)), None)

    def spy_on_comparisons(network, rows, labels, weights, *args, **kwargs):
        compared.append((network, weights))
        return metric(network, rows, labels, weights, *args, **kwargs)

    objective, metric = _rounds.classification_objective, _rounds.metric_objective
    forward = _rounds.compare_in_batches
    monkeypatch.setattr(_rounds, "classification_objective", spy_on_lessons)
    monkeypatch.setattr(_rounds, "metric_objective", spy_on_comparisons)
    monkeypatch.setattr(_rounds, "compare_in_batches", spy_on_looks)
    network, rows, y = setup(n_networks=n_networks)
    records = list(
        rounds(network, rows, y, select=select, plan=replace(PLAN, n_steps=20, n_later_steps=10, learning_rate=2e-2))
    )
    given = np.flatnonzero(y >= 0)
    members = list(network.members)
    assert [member for member, _ in lessons] == [member for member, _ in compared] == 4 * members
    assert [member for member, _ in looked] == 3 * members
    folds = [np.setdiff1d(index, given) for _, index in looked[:n_networks]]
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.flatnonzero(y < 0))
    for number in range(3):
        for k, (embeddings, labels) in enumerate(seen[number * n_networks :][:n_networks]):
            index = looked[number * n_networks + k][1]
            np.testing.assert_array_equal(index, np.sort(np.concatenate([given, folds[k]])))
            np.testing.assert_array_equal(labels, y[index])
            assert embeddings.shape == (len(index), 16)
    for number, record in enumerate(records):
        admitted = np.flatnonzero(y < 0)[record.pseudo_labels.labels >= 0]
        for k in range(n_networks):
            taught = admitted if number == 3 else np.setdiff1d(admitted, folds[k])
            for _, weights in (lessons[number * n_networks + k], compared[number * n_networks + k]):
                np.testing.assert_array_equal(np.flatnonzero(weights), np.sort(np.concatenate([given, taught])))
    assert records[-1].n_pseudo_labeled == 30
    assert not torch.equal(members[0].head.weight, members[1].head.weight)


@pytest.mark.parametrize("n_networks", [1, 2, 3])
def test_reported_losses_are_means_over_the_networks(n_networks):
    calls = []

    def constant(embeddings, labels):
        calls.append(0 * embeddings.sum() + len(calls) % n_networks)
        return calls[-1]

    network, rows, y = setup(n_networks=n_networks)
    for record in rounds(network, rows, y, metric_loss=constant):
        assert record.metric_loss == pytest.approx((n_networks - 1) / 2)
        assert 0.3 < record.classification_loss < 3
        assert type(record.metric_loss) is type(record.classification_loss) is float


def test_one_fold_may_be_empty():
    network, rows, y = setup(n=21, n_networks=2)  # one unlabelled row
    assert list(rounds(network, rows, y))[-1].n_pseudo_labeled == 1


def test_selectors_without_probabilities_go_with_several_networks():
    def select(embeddings, y, proba):
        return PseudoLabels(proba.argmax(axis=1), np.ones(len(y)))

    records = list(rounds(*setup(n_networks=2), select=select))
    assert (records[-1].pseudo_labels.weights == 1).all()


def test_a_selector_cannot_change_the_given_labels():
    def scribble(embeddings, y, proba):
        proposed = ConfidenceSelector().select(embeddings, y, proba)
        y[:] = 0
        embeddings[:] = proba[:] = np.nan
        return proposed

    network, rows, y = setup()
    before = y.copy()
    scribbled = [record.pseudo_labels for record in rounds(network, rows, y, select=scribble)]
    np.testing.assert_array_equal(y, before)
    undisturbed = [record.pseudo_labels for record in rounds(*setup())]
    np.testing.assert_equal(scribbled, undisturbed)


def test_training_aims_at_the_probabilities_of_a_selector():
    def losses(aim):
        def select(embeddings, y, proba):
            labels = proba.argmax(axis=1)
            return PseudoLabels(labels, np.ones(len(y)), aim(np.eye(3)[labels]))

        # Long enough to learn the given labels: before, pseudo-labels hardly count.
        plan = replace(PLAN, n_steps=40, n_later_steps=20, learning_rate=2e-2)
        return [record.classification_loss for record in rounds(*setup(), select=select, plan=plan)]

    labels_alone = losses(lambda certain: None)
    np.testing.assert_allclose(losses(lambda certain: certain), labels_alone, rtol=1e-4)
    doubtful = losses(lambda certain: 0.5 * certain + 0.5 / 3)
    assert doubtful[0] == labels_alone[0]
    assert doubtful[-1] > labels_alone[-1] + 0.05


def logits_with_recalls(y, recalls):
    """Logits that are right on the first rows of each class, so many that these are its recalls."""
    right = np.concatenate(
        [np.arange(n) < round(recall * n) for n, recall in zip(np.bincount(y), recalls, strict=True)]
    )
    return np.eye(3, dtype=np.float32)[np.where(right, y, (y + 1) % 3)]


@pytest.mark.parametrize(
    ("recalls", "n_passes", "share"),
    [
        ((1.0, 1.0, 1.0), 1, 0.5),
        ((0.9, 0.9, 0.9), 1, 0.5),
        ((1.0, 1.0, 0.7), 1, 0.5),
        ((0.8, 0.8, 0.8), 1, 0.5 * (8 / 9) ** 6),
        ((1.0, 0.5, 0.0), 1, 0.5 * (5 / 9) ** 6),
        ((1.0, 0.5, 0.0), 45, 0.5 * (3 / 4) ** 6),
        ((0.0, 0.0, 0.0), 60, 0.5),
        ((0.0, 0.0, 0.0), 500, 0.5),
        ((0.0, 0.0, 0.0), 6, 0.5e-6),
        ((0.0, 0.0, 0.0), 0, 0),
    ],
)
def test_pseudo_labels_are_few_until_a_network_has_learned_the_given_ones(recalls, n_passes, share):
    y = np.repeat([0, 1, 2], [80, 20, 10])
    assert pseudo_share(logits_with_recalls(y, recalls), y, n_passes) == pytest.approx(share, rel=1e-6)


@pytest.mark.parametrize("training", ["none", "good", "long"])
def test_rows_drawn_are_mostly_given_ones_until_a_network_has_learned_them(training, monkeypatch):
    plan = {
        "none": replace(PLAN, n_steps=1, n_later_steps=1, learning_rate=1e-9),
        "good": replace(PLAN, n_steps=20, n_later_steps=10, learning_rate=2e-2),
        "long": replace(
            PLAN, n_steps=100, n_later_steps=50, learning_rate=1e-9
        ),  # 160 passes of 20 rows in batches of 32
    }[training]
    drawn = []

    def spy(network, rows, labels, weights, *args, **kwargs):
        drawn.append(weights[:20].sum() / weights.sum())
        return objective(network, rows, labels, weights, *args, **kwargs)

    objective = _rounds.classification_objective
    monkeypatch.setattr(_rounds, "classification_objective", spy)
    list(rounds(*setup(), plan=plan, select=lambda embeddings, y, proba: PseudoLabels(proba.argmax(1), np.ones(50))))
    assert drawn[0] == 1
    if training == "none":
        assert min(drawn) > 0.9
    else:
        assert drawn[-1] == pytest.approx(0.5)


def test_rows_left_out_stay_without_a_label():
    def first_class_only(embeddings, y, proba):
        labels = np.where(proba[:, 0] > np.median(proba[:, 0]), 0, -1)
        return PseudoLabels(labels, np.ones(len(y)))

    network, rows, y = setup()
    last = list(rounds(network, rows, y, select=first_class_only))[-1]
    assert 0 < last.n_pseudo_labeled < 30
    assert set(last.pseudo_labels.labels) == {-1, 0}


def test_a_selector_that_gives_no_label_at_all():
    def nothing(embeddings, y, proba):
        return PseudoLabels(np.full(len(y), -1), np.zeros(len(y)))

    records = list(rounds(*setup(), select=nothing))
    assert [record.n_pseudo_labeled for record in records] == [0, 0, 0, 0]
    assert all(math.isfinite(record.classification_loss) for record in records)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_constant_weights_are_fine(weight):
    def constant(embeddings, y, proba):
        return PseudoLabels(proba.argmax(axis=1), np.full(len(y), weight))

    last = list(rounds(*setup(), select=constant))[-1]
    assert last.n_pseudo_labeled == 30
    assert last.mean_weight == weight


def test_fully_labelled_rows_are_trained_on_in_round_0():
    records = list(rounds(*setup(n_given=50), plan=replace(PLAN, n_rounds=0)))
    assert [record.round for record in records] == [0]
    assert len(records[0].pseudo_labels.labels) == 0


def test_without_metric_weight_there_is_no_metric_loss():
    network, rows, y = setup()
    records = list(rounds(network, rows, y, plan=Plan(1, 3, 2, 32, 2e-3, 1e-2, 0.2, 0.0)))
    assert all(math.isnan(record.metric_loss) for record in records)


def test_rounds_share_one_schedule(monkeypatch):
    """Every round takes up the training where the one before left it."""
    network, rows, y = setup()
    trainings, legs = [], []

    class Recording(Training):
        def __init__(self, network, budget):
            trainings.append(budget)
            super().__init__(network, budget)

        def run(self, objectives, n_steps, on_step):
            legs.append(n_steps)
            return super().run(objectives, n_steps, on_step)

    monkeypatch.setattr("skdmlpl._rounds.Training", Recording)
    list(rounds(network, rows, y, plan=replace(PLAN, n_later_steps=4)))
    assert legs == [6, 4, 4, 4]
    assert [budget.n_steps for budget in trainings] == [18]


def test_softmax_agrees_with_the_definition_and_keeps_the_dtype():
    logits = np.array([[0.0, 1.0, -2.0], [1000.0, 0.0, -1000.0]])
    expected = np.array([[1, math.e, math.exp(-2)], [1, 0, 0]])
    for dtype in (np.float32, np.float64):
        proba = softmax(logits.astype(dtype))
        assert proba.dtype == dtype
        np.testing.assert_allclose(proba, expected / expected.sum(axis=1, keepdims=True), rtol=1e-6)
