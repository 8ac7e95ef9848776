"""Metric losses against naive loops, and their balance, gradients and edge cases."""

import math
import pickle

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss
from sklearn.base import clone

from skdmlpl.interfaces import MetricLoss
from skdmlpl.losses import ContrastiveLoss, TripletMarginLoss

LOSSES = [TripletMarginLoss(), ContrastiveLoss()]
both = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)


def batch(labels, n_features=5, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.as_tensor(labels)
    embeddings = torch.randn(len(labels), n_features, generator=generator, dtype=dtype)
    embeddings += torch.nn.functional.one_hot(labels % n_features, n_features)  # classes that are partly learned
    return embeddings.requires_grad_(), labels


BATCHES = {
    "balanced": [0, 1, 2] * 4,
    "long tail": [0] * 15 + [1] * 5 + [2] * 2 + [3],
    "two views of unlabelled rows": [0, 0, 0, 1, 1, 7, 8, 9, 7, 8, 9],
    "smallest": [0, 0, 1],
}
batches = pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES)


def naive_mean(values_of_label):
    return sum(sum(values) / len(values) for values in values_of_label.values()) / len(values_of_label)


def naive_triplet(embeddings, labels, margin):
    rows = [[value / math.hypot(*row) for value in row] for row in embeddings.tolist()]
    labels = labels.tolist()
    n = len(rows)

    def distance(i, j):
        return sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True))

    values = {}
    for a in range(n):
        negatives = sorted(distance(a, j) for j in range(n) if labels[j] != labels[a])
        for p in range(n):
            if p != a and labels[p] == labels[a]:
                further = [d for d in negatives if d > distance(a, p)]
                negative = further[0] if further else negatives[-1]
                values.setdefault(labels[a], []).append(max(0.0, distance(a, p) - negative + margin))
    return naive_mean(values)


def naive_contrastive(embeddings, labels, margin, temperature):
    rows = [[value / math.hypot(*row) for value in row] for row in embeddings.tolist()]
    labels = labels.tolist()
    n = len(rows)
    values = {}
    for i in range(n):
        score = {}
        for j in range(n):
            if j != i:
                cosine = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
                score[j] = math.exp((cosine - margin * (labels[i] == labels[j])) / temperature) / labels.count(
                    labels[j]
                )
        for p in score:
            if labels[p] == labels[i]:
                values.setdefault(labels[i], []).append(-math.log(score[p] / sum(score.values())))
    return naive_mean(values)


@batches
@pytest.mark.parametrize("margin", [0.0, 0.2, 1.5])
def test_triplet_agrees_with_naive_loops(labels, margin):
    embeddings, labels = batch(labels)
    expected = naive_triplet(embeddings, labels, margin)
    assert TripletMarginLoss(margin)(embeddings, labels).item() == pytest.approx(expected, abs=1e-5)


def test_triplet_takes_the_furthest_negative_where_none_is_further_than_the_positive():
    # Angles in degrees; the positives are opposite, so all negatives lie between them.
    angle = torch.deg2rad(torch.tensor([0.0, 180.0, 60.0, 90.0]))
    embeddings = torch.stack([angle.cos(), angle.sin()], dim=1)
    loss = TripletMarginLoss(0.5)(embeddings, torch.tensor([0, 0, 1, 2]))
    # From 0 and 180 degrees, the furthest negatives are at 90 and 120 degrees: 4 - 2 + 0.5 and 4 - 3 + 0.5.
    assert loss.item() == pytest.approx((2.5 + 1.5) / 2, abs=1e-5)


@batches
@pytest.mark.parametrize(("margin", "temperature"), [(0.0, 0.1), (0.2, 0.1), (0.5, 1.0)])
def test_contrastive_agrees_with_naive_loops(labels, margin, temperature):
    embeddings, labels = batch(labels)
    expected = naive_contrastive(embeddings, labels, margin, temperature)
    assert ContrastiveLoss(margin, temperature)(embeddings, labels).item() == pytest.approx(expected, abs=1e-5)


def test_contrastive_without_margin_is_supcon_on_balanced_classes():
    embeddings, labels = batch([0, 1, 2, 3] * 6)
    expected = SupConLoss(temperature=0.1)(embeddings, labels)
    torch.testing.assert_close(ContrastiveLoss(margin=0.0)(embeddings, labels), expected, rtol=1e-5, atol=1e-5)


def test_contrastive_margin_counts_as_in_epsilon_supinfonce():
    # One positive a row: log(exp(-margin) + sum of exp(negative - positive)) + margin, in units of the temperature.
    embeddings, labels = batch([0, 1, 2, 0, 1, 2])
    unit = torch.nn.functional.normalize(embeddings)
    similarity = unit @ unit.T / 0.1
    gap = similarity - similarity[torch.arange(6), torch.arange(6).roll(3)][:, None]
    negative = labels[:, None] != labels
    epsilon = 0.3 / 0.1
    expected = (math.exp(-epsilon) + (gap.exp() * negative).sum(dim=1)).log().mean() + epsilon
    torch.testing.assert_close(ContrastiveLoss(margin=0.3)(embeddings, labels), expected)


@both
def test_margin_raises_the_loss(loss):
    embeddings, labels = batch(BATCHES["long tail"])
    values = [clone(loss).set_params(margin=margin)(embeddings, labels).item() for margin in (0.0, 0.1, 0.3, 1.0)]
    assert values == sorted(set(values))


def test_triplet_does_not_weigh_a_class_by_its_rows():
    # Class 0 sits in one point, so more rows of it add pairs and negatives, but none with a new distance.
    labels = [0] * 4 + [1] * 4 + [2] * 4
    embeddings, labels = batch(labels)
    embeddings = embeddings.detach()
    embeddings[:4] = embeddings[0]
    more = torch.cat([embeddings, embeddings[:1].expand(40, -1)]), torch.cat([labels, labels.new_zeros(40)])
    loss = TripletMarginLoss(1.0)
    torch.testing.assert_close(loss(*more), loss(embeddings, labels), rtol=1e-5, atol=1e-5)


def test_contrastive_weighs_a_class_by_its_rows_far_less_than_supcon():
    # As above; a row is not compared with itself, which leaves 7 of 8 and 47 of 48 rows, hence not quite equal.
    embeddings, labels = batch([0] * 8 + [1] * 8 + [2] * 8)
    embeddings = embeddings.detach()
    embeddings[:8] = embeddings[0]
    more = torch.cat([embeddings, embeddings[:1].expand(40, -1)]), torch.cat([labels, labels.new_zeros(40)])
    others = labels > 0

    def pull(loss, embeddings, labels):
        """Gradient of the rows of the other classes, as a direction: the scale is not the classes' balance."""
        embeddings = embeddings.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(embeddings, labels), embeddings)
        return torch.nn.functional.normalize(gradient[:24][others].flatten(), dim=0)

    def change(loss):
        return (pull(loss, *more) - pull(loss, embeddings, labels)).norm()

    assert change(ContrastiveLoss(margin=0.0)) < 0.1 * change(SupConLoss(temperature=0.1))


@both
def test_ids_of_labels_do_not_matter(loss):
    embeddings, labels = batch([0] * 12 + [1] * 3)
    forward = loss(embeddings, labels)
    torch.testing.assert_close(loss(embeddings, 1 - labels), forward)
    torch.testing.assert_close(loss(embeddings, labels * 1000 + 17), forward)


@both
def test_order_of_rows_does_not_matter(loss):
    embeddings, labels = batch(BATCHES["long tail"])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(embeddings[order], labels[order]), loss(embeddings, labels))


@both
def test_length_of_embeddings_does_not_matter(loss):
    embeddings, labels = batch(BATCHES["long tail"])
    length = torch.rand(len(labels), 1, generator=torch.Generator().manual_seed(1)) + 0.1
    torch.testing.assert_close(loss(embeddings * length, labels), loss(embeddings, labels))


@both
@batches
def test_gradient_agrees_with_differences(loss, labels):
    embeddings, labels = batch(labels, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels), embeddings)


@both
@pytest.mark.parametrize(
    "labels", [[], [0], [0, 0, 0], [0, 1, 2]], ids=["no rows", "one row", "no negatives", "no positives"]
)
def test_batch_with_nothing_to_compare(loss, labels):
    embeddings = torch.full((len(labels), 5), 1e38, requires_grad=True)
    value = loss(embeddings, torch.tensor(labels, dtype=torch.int64))
    assert value.shape == ()
    assert value.item() == 0
    value.backward()
    assert (embeddings.grad == 0).all()


@both
@pytest.mark.parametrize("rows", ["equal", "zero", "zero among others"])
def test_gradient_is_finite_for_equal_and_zero_rows(loss, rows):
    embeddings, labels = batch(BATCHES["long tail"])
    embeddings = embeddings.detach()
    if rows == "equal":
        embeddings[:] = embeddings[0].clone()
    else:
        embeddings[:: 1 if rows == "zero" else 3] = 0
    embeddings.requires_grad_()
    value = loss(embeddings, labels)
    value.backward()
    assert torch.isfinite(value)
    assert embeddings.grad.abs().max() < 100
    assert (embeddings.grad[(embeddings == 0).all(dim=1)] == 0).all()


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss, dtype):
    embeddings, labels = batch(BATCHES["long tail"])
    embeddings = embeddings.detach().to(dtype).requires_grad_()
    value = loss(embeddings, labels)
    value.backward()
    torch.testing.assert_close(value, loss(embeddings.float(), labels))
    assert embeddings.grad.dtype == dtype


@both
def test_loss_is_reduced_by_following_its_gradient(loss):
    embeddings, labels = batch(BATCHES["two views of unlabelled rows"])
    optimizer = torch.optim.SGD([embeddings], lr=0.2)
    first = loss(embeddings, labels).item()
    for _ in range(50):
        optimizer.zero_grad()
        loss(embeddings, labels).backward()
        optimizer.step()
    assert loss(embeddings, labels).item() < 0.5 * first


@both
def test_loss_is_a_part_like_those_of_scikit_learn(loss):
    assert isinstance(loss, MetricLoss)
    copy = clone(loss).set_params(margin=0.4)
    assert copy.get_params()["margin"] == 0.4
    assert repr(copy) == f"{type(loss).__name__}(margin=0.4)"
    assert pickle.loads(pickle.dumps(copy)).margin == 0.4


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "wide", None, True])
@both
def test_margin_out_of_range(loss, value):
    message = (
        rf"The 'margin' parameter of {type(loss).__name__} must be a float in the range \[0.0, inf\). Got {value!r}"
    )
    with pytest.raises(ValueError, match=message):
        clone(loss).set_params(margin=value)(*batch([0, 0, 1]))


@pytest.mark.parametrize("value", [0, -1.0, math.inf])
def test_temperature_out_of_range(value):
    with pytest.raises(ValueError, match=rf"The 'temperature' parameter .* in the range \(0.0, inf\). Got {value!r}"):
        ContrastiveLoss(temperature=value)(*batch([0, 0, 1]))


@both
@pytest.mark.parametrize(("shape", "n_labels"), [((4, 3), 5), ((4,), 4), ((4, 3, 2), 4)])
def test_shapes_have_to_match(loss, shape, n_labels):
    with pytest.raises(ValueError, match="Expected embeddings of shape"):
        loss(torch.zeros(shape), torch.zeros(n_labels, dtype=torch.int64))
