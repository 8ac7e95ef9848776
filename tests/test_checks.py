"""The contract checks pass every good part, ours and foreign, and refuse broken ones by message."""

import random
from functools import partial

import numpy as np
import pytest
import pytorch_metric_learning.losses as foreign_losses
import torch
import torch.nn.functional as F
from sklearn.neighbors import NearestNeighbors
from torch import nn
from torchvision.models import resnet18

from skdmlpl.augmentations import FeatureCorruption, StrongImageAugmentation, WeakImageAugmentation
from skdmlpl.backbones import mlp, small_convnet, torchvision_backbone, wide_resnet28_2
from skdmlpl.checks import (
    check_augmentation,
    check_backbone,
    check_metric_loss,
    check_neighbor_index,
    check_selector,
)
from skdmlpl.losses import ContrastiveLoss, TripletMarginLoss
from skdmlpl.neighbors import ApproximateNeighbors, ExactNeighbors
from skdmlpl.selectors import ConfidenceSelector, GraphPropagationSelector, NearestNeighborSelector

TABLE, IMAGE = (5,), (3, 8, 8)


def name_of(part):
    """Return a test id that is the same in every process, as that of a function is not."""
    return getattr(part, "__name__", str(part))


def refused(message, check, *arguments):
    with pytest.raises(AssertionError, match=message):
        check(*arguments)


# -- backbones


def resnet_without_head():
    network = resnet18()
    network.fc = nn.Identity()
    return network


@pytest.mark.parametrize(
    ("backbone", "input_shape"),
    [
        pytest.param(mlp, TABLE, id="mlp on few columns"),
        pytest.param(mlp, (120,), id="mlp on many columns"),
        pytest.param(partial(mlp, hidden=8, depth=1), (1,), id="partial"),
        pytest.param(small_convnet, IMAGE, id="small_convnet"),
        pytest.param(small_convnet, (1, 5, 7), id="small_convnet on odd sides"),
        pytest.param(wide_resnet28_2, IMAGE, id="wide_resnet28_2"),
        pytest.param(torchvision_backbone(resnet18), (1, 32, 32), id="torchvision_backbone"),
        pytest.param(torchvision_backbone(resnet18, pixel_max=1), (3, 32, 32), id="torchvision_backbone as pretrained"),
        pytest.param(lambda input_shape: nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), IMAGE, id="lazy layer"),
        pytest.param(nn.Linear(5, 3).double().float(), TABLE, id="module"),
    ],
)
def test_backbones_pass(backbone, input_shape):
    check_backbone(backbone, input_shape)


def test_foreign_module_passes_and_is_not_touched():
    network = resnet_without_head()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    check_backbone(network, (3, 32, 32))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


class Compares(nn.Linear):
    """A backbone whose ``neighbor_features`` returns what it is told to."""

    def __init__(self, places):
        super().__init__(5, 3)
        self.neighbor_features = places


def test_neighbor_features_must_be_a_finite_vector_of_each_row():
    check_backbone(Compares(lambda features, rows: torch.cat([features, rows], dim=1)), TABLE)
    refused("finite vector of each row", check_backbone, Compares(lambda features, rows: features[:2]), TABLE)
    refused("finite vector of each row", check_backbone, Compares(lambda features, rows: features[0]), TABLE)
    refused("not finite", check_backbone, Compares(lambda features, rows: features / 0), TABLE)
    refused("looked for", check_backbone, Compares(lambda features: features), TABLE)


def test_frozen_parameters_need_no_gradient():
    network = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    network[0].requires_grad_(False)
    check_backbone(network, TABLE)


class Broken(nn.Module):
    """A linear layer and a mistake on its output."""

    def __init__(self, mistake, n_features=5):
        super().__init__()
        self.linear = nn.Linear(n_features, 3)
        self.mistake = mistake

    def forward(self, batch):
        return self.mistake(self.linear(batch), self)


class UnusedLayer(nn.Linear):
    def __init__(self):
        super().__init__(5, 3)
        self.head = nn.Linear(3, 10)


class OncePerBatch(nn.Linear):
    def adapt(self, batches):
        self.n_batches = len(batches)


class OneArrayOfLabels(nn.Linear):
    def adapt_to_labels(self, rows, y):
        self.mean = rows[y == 0].mean()


shared_network = nn.Linear(5, 3)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (5, r"The backbone int must be a torch.nn.Module or build a new one .* 'int' object is not callable"),
        (lambda input_shape: "net", r"The backbone <lambda> must be a torch.nn.Module or build .* Got str instead"),
        (lambda: nn.Linear(5, 3), r"must be .* in every call. It raised TypeError"),
        (lambda input_shape: shared_network, "in every call. Got two that share 2 parameters"),
        (nn.Linear(4, 3), r"The backbone Linear must map a batch of shape \(6, 5\) .* It raised RuntimeError"),
        (OncePerBatch(5, 3), "must learn from an iterator of batches in adapt. It raised TypeError"),
        (OneArrayOfLabels(5, 3), "must learn from pairs of batch and labels in adapt_to_labels. It raised TypeError"),
        (Broken(lambda x, self: (x, x)), r"must map .* to vectors \(6, d\) in training mode. Got tuple instead"),
        (Broken(lambda x, self: x[:, :, None]), r"\(6, d\) in training mode. Got shape \(6, 3, 1\) instead"),
        (Broken(lambda x, self: x.squeeze(0).sum(-1)), r"\(6, d\) in training mode. Got shape \(6,\) instead"),
        (Broken(lambda x, self: x if len(x) > 1 else x[0]), r"\(1, d\) in evaluation mode. Got shape \(3,\) instead"),
        (Broken(lambda x, self: x[:, :0]), r"\(6, d\) in training mode. Got shape \(6, 0\) instead"),
        (Broken(lambda x, self: x.long()), "must return floating-point vectors. Got torch.int64 instead"),
        (Broken(lambda x, self: x / 0), "must return finite vectors in training mode. Got NaN or infinity"),
        (Broken(lambda x, self: x if self.training else x / 0), "must return finite vectors in evaluation mode"),
        (Broken(lambda x, self: x if self.training else x[:, :2]), r"one length. Got lengths \[2, 3\] instead"),
        (Broken(lambda x, self: F.dropout(x)), "must return the same vectors for the same rows each time"),
        (Broken(lambda x, self: x - x.mean(0)), "must treat each row by itself in evaluation mode. Got a difference"),
        (nn.Identity(), "must have parameters that require a gradient. Got none instead"),
        (Broken(lambda x, self: x.detach()), "must pass the gradient on to its parameters. Got vectors cut off"),
        (UnusedLayer(), "to every parameter that requires one. Got none for head.weight, head.bias instead"),
        (Broken(lambda x, self: x * 0), "must have a gradient. Got zero everywhere"),
        (Broken(lambda x, self: (x - x).abs().sqrt() + x), "must have a finite gradient. Got NaN or infinity"),
    ],
)
def test_broken_backbones_are_refused(backbone, message):
    refused(message, check_backbone, backbone, TABLE)


# -- metric losses


@pytest.mark.parametrize(
    "loss",
    [
        ContrastiveLoss(),
        ContrastiveLoss(margin=0, temperature=1.0),
        TripletMarginLoss(),
        TripletMarginLoss(margin=0.5),
        foreign_losses.SupConLoss(),
        foreign_losses.TripletMarginLoss(),
        foreign_losses.TripletMarginLoss(triplets_per_anchor=2),  # draws at random
        foreign_losses.NTXentLoss(),
        foreign_losses.ContrastiveLoss(),
        foreign_losses.MultiSimilarityLoss(),
    ],
    ids=lambda loss: f"{type(loss).__module__.split('.')[0]} {type(loss).__name__}",
)
def test_losses_pass(loss):
    state = torch.get_rng_state()
    check_metric_loss(loss)
    assert torch.equal(torch.get_rng_state(), state)


def with_mistake(mistake):
    """Return the contrastive loss with a mistake made of its value, the embeddings and the labels."""

    def loss(embeddings, labels):
        return mistake(ContrastiveLoss()(embeddings, labels), embeddings, labels)

    return loss


def class_centers(embeddings, labels):
    return (embeddings - torch.eye(10, embeddings.shape[1])[labels]).square().sum()


def no_graph_where_nothing_compares(value, embeddings, labels):
    return value if value else torch.tensor(0.0)


def no_graph_of_the_embeddings(value, embeddings, labels):
    return value if value else torch.zeros((), requires_grad=True)


def normalised_in_place(embeddings, labels):
    embeddings /= 2
    return ContrastiveLoss()(embeddings, labels)


def distance_with_root(embeddings, labels):
    same = (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool)
    return (embeddings[:, None] - embeddings).square().sum(dim=2)[same].sqrt().sum()


def mean_of_no_pairs(embeddings, labels):
    same = (labels[:, None] == labels).fill_diagonal_(False)
    return -(embeddings @ embeddings.T)[same].mean()


def gap_of_means(embeddings, labels, *, guarded):
    """Return by how much other labels are nearer; the mean of no pairs is nan, but for the batches guarded."""
    same = labels[:, None] == labels
    others = same.clone().fill_diagonal_(False)
    if len(labels) == 1 or (guarded == "positives" and not others.any()) or (guarded == "negatives" and same.all()):
        return 0 * embeddings.sum()
    cosine = embeddings @ embeddings.T
    return cosine[~same].mean() - cosine[others].mean()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (ContrastiveLoss, "The metric loss ContrastiveLoss must be an object. Got the class itself"),
        (with_mistake(lambda value, e, y: value.item()), "must return a scalar tensor for an ordinary .* Got float"),
        (with_mistake(lambda value, e, y: value[None]), r"must return a scalar tensor .* Got shape \(1,\) instead"),
        (with_mistake(lambda value, e, y: value.detach()), "graph of the embeddings .* Got a value without a gradient"),
        (with_mistake(lambda value, e, y: value / 0), "must be finite for an ordinary batch. Got inf instead"),
        (with_mistake(lambda value, e, y: value + 1), "must be 0 where there is nothing .* Got 1 for a single row"),
        (with_mistake(lambda value, e, y: -value), "must be lower where rows of equal label are close"),
        (with_mistake(lambda value, e, y: 0 * value), "must have a gradient on an ordinary batch. Got zero everywhere"),
        (with_mistake(lambda value, e, y: value * e[0, 0].abs()), "must not depend on the order of the rows"),
        (with_mistake(no_graph_where_nothing_compares), "for a single row. Got a value without a"),
        (with_mistake(no_graph_of_the_embeddings), "for a single row. Got a value that does not depend on them"),
        (class_centers, "The metric loss class_centers must take an ordinary batch. It raised IndexError"),
        (normalised_in_place, "must leave its arguments as they are. Got other values after an ordinary batch"),
        (distance_with_root, "must have a finite gradient for identical rows. Got NaN"),
        (partial(gap_of_means, guarded="positives"), "partial must be finite for rows of one label. Got nan"),
        (partial(gap_of_means, guarded="negatives"), "must be finite for rows that all differ in label. Got nan"),
        (mean_of_no_pairs, "must be finite for a single row. Got nan instead"),
    ],
)
def test_broken_losses_are_refused(loss, message):
    refused(message, check_metric_loss, loss)


# -- selectors


def nearest_labelled_row(embeddings, y, proba):
    similarity = embeddings @ embeddings[y >= 0].T
    return y[y >= 0][similarity.argmax(axis=1)], similarity.max(axis=1).clip(0, 1)


@pytest.mark.parametrize(
    "selector",
    [
        GraphPropagationSelector(),
        GraphPropagationSelector(n_neighbors=1, alpha=0.0, n_iter=1),
        GraphPropagationSelector(neighbor_index=NearestNeighbors()),
        NearestNeighborSelector(),
        NearestNeighborSelector(n_neighbors=1, n_clusters=2, temperature=1.0),
        ConfidenceSelector(),
        nearest_labelled_row,
    ],
    ids=name_of,
)
def test_selectors_pass(selector):
    before = str(vars(selector))
    check_selector(selector)
    assert str(vars(selector)) == before


class WithMethod:
    """A function as a method."""

    def __init__(self, function):
        self.function = function

    def select(self, embeddings, y, proba):
        return self.function(embeddings, y, proba)


def overwriting(embeddings, y, proba):
    proba += 1
    return ConfidenceSelector().select(embeddings, y, proba)


def random_weights(embeddings, y, proba):
    return proba.argmax(axis=1), np.random.random(len(y))  # noqa: NPY002


def third_neighbor(embeddings, y, proba):
    third = (embeddings @ embeddings[y >= 0].T).argsort(axis=1)[:, -3]
    return y[y >= 0][third], np.ones(len(y))


def distance_weights(embeddings, y, proba):
    spread = np.linalg.norm(embeddings - embeddings.mean(axis=0), axis=1).round(5)
    return proba.argmax(axis=1), np.clip((spread - spread.min()) / (spread.max() - spread.min()), 0, 1)


def spread_of_classes(embeddings, y, proba):
    spread = [embeddings[y == c].std(axis=0, ddof=1).mean() for c in range(proba.shape[1])]
    return proba.argmax(axis=1), np.full(len(y), 1 / (1 + max(spread)))


def rank_among_unlabelled(embeddings, y, proba):
    surest = proba.max(axis=1)
    low, high = np.min(surest[y < 0]), np.max(surest[y < 0])
    return proba.argmax(axis=1), np.clip((surest - low) / (high - low), 0, 1)


def most_of_unlabelled(embeddings, y, proba):
    return proba.argmax(axis=1), np.minimum(1, proba.max(axis=1) / proba[y < 0].max())


def entropy(embeddings, y, proba):
    return proba.argmax(axis=1), np.clip(1 + (proba * np.log(proba)).sum(axis=1), 0, 1)


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        (ConfidenceSelector, "The selector ConfidenceSelector must be an object. Got the class itself"),
        (object(), "The selector object must take an ordinary set of rows. It raised TypeError"),
        (
            lambda e, y, p: p.argmax(axis=1),
            "must keep to its protocol for an ordinary set of rows. It raised TypeError",
        ),
        (lambda e, y, p: (p.argmax(axis=1), p), "must keep to its protocol .* Got shapes"),
        (
            lambda e, y, p: (p.argmax(axis=1) + 1, np.ones(len(y))),
            "must keep to its protocol .* Got labels .*from 1 to 3",
        ),
        (
            lambda e, y, p: (p.argmax(axis=1) * 1.0, np.ones(len(y))),
            "must keep to its protocol .* labels of dtype float64",
        ),
        (lambda e, y, p: (p.argmax(axis=1), -np.log(p).min(axis=1)), "must keep to its protocol .* Got weights from"),
        (
            WithMethod(lambda e, y, p: (p.argmax(axis=1), np.full(len(y), 2))),
            "The selector WithMethod must keep .* to 2",
        ),
        (distance_weights, "must keep to its protocol for identical rows. .* Got weights from nan"),
        (spread_of_classes, "for one labelled row in each class. .* Got weights from nan"),
        (rank_among_unlabelled, "for one unlabelled row. .* Got weights from nan"),
        (most_of_unlabelled, "must take no unlabelled row. It raised ValueError"),
        (entropy, "for probabilities of 0 and 1. .* Got weights from nan"),
        (third_neighbor, "must take three rows in all. It raised IndexError"),
        (overwriting, "must leave its arguments as they are. Got other values after an ordinary set"),
        (random_weights, "must answer the same to the same arguments. Got two different answers for an ordinary set"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_broken_selectors_are_refused(selector, message):
    refused(message, check_selector, selector)


# -- augmentations


@pytest.mark.parametrize(
    ("augmentation", "input_shape"),
    [
        (FeatureCorruption(), TABLE),
        (FeatureCorruption(rate=1), (1,)),
        (WeakImageAugmentation(), IMAGE),
        (StrongImageAugmentation(), IMAGE),
        (StrongImageAugmentation(), (1, 5, 7)),
        (lambda batch, generator: batch, TABLE),
        (lambda batch, generator: batch + torch.randn(batch.shape, generator=generator), IMAGE),
    ],
    ids=name_of,
)
def test_augmentations_pass(augmentation, input_shape):
    check_augmentation(augmentation, input_shape)


def noise_in_place(batch, generator):
    return batch.add_(torch.randn(batch.shape, generator=generator))


def python_coin(batch, generator):
    return batch.flip(-1) if random.random() < 2 else batch


def numpy_noise(batch, generator):
    return batch + torch.from_numpy(np.random.normal(size=batch.shape)).to(batch.dtype)  # noqa: NPY002


def torch_noise(batch, generator):
    return batch + torch.randn_like(batch)


def own_generator(batch, generator):
    return batch + torch.from_numpy(np.random.default_rng().normal(size=batch.shape)).to(batch.dtype)


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (FeatureCorruption, "The augmentation FeatureCorruption must be an object. Got the class itself"),
        (lambda batch: batch, r"The augmentation <lambda> must take a batch of shape \(6, 5\) .* It raised TypeError"),
        (lambda batch, generator: batch.numpy(), "must return a tensor of the shape and dtype .* Got ndarray instead"),
        (lambda batch, generator: batch[:, 1:], r"shape and dtype of the batch. Got shape \(6, 4\) and torch.float32"),
        (lambda batch, generator: batch.squeeze(0), r"Got shape \(5,\) .* for a batch of shape \(1, 5\)"),
        (lambda batch, generator: batch.float(), "Got .* torch.float32 for a batch .* torch.float64 instead"),
        (lambda batch, generator: (batch - batch.mean(0)) / batch.std(0), "must return finite values"),
        (noise_in_place, "The augmentation noise_in_place must leave the batch given as it is"),
        (torch_noise, "must draw from the generator given alone. Got a changed state of a global generator"),
        (numpy_noise, "must draw from the generator given alone"),
        (python_coin, "must draw from the generator given alone"),
        (own_generator, "must repeat itself from the same state of the generator. Got two different results"),
    ],
)
@pytest.mark.filterwarnings("ignore:std.*degrees of freedom")
def test_broken_augmentations_are_refused(augmentation, message):
    refused(message, check_augmentation, augmentation, TABLE)


# -- neighbour indexes


@pytest.mark.parametrize(
    "index",
    [
        ExactNeighbors(),
        ExactNeighbors(block_size=1),
        ApproximateNeighbors(),
        NearestNeighbors(),
        NearestNeighbors(algorithm="brute"),
    ],
    ids=name_of,
)
def test_indexes_pass(index):
    before = dict(vars(index))
    check_neighbor_index(index)
    assert vars(index) == before


class BrokenIndex:
    """An exact index and a mistake made of its distances and indices."""

    def __init__(self, mistake):
        self.mistake = mistake

    def fit(self, X):
        self.index = ExactNeighbors().fit(X)

    def kneighbors(self, X, n_neighbors):
        return self.mistake(*self.index.kneighbors(X, n_neighbors))


class WithoutItself(NearestNeighbors):
    def kneighbors(self, X, n_neighbors):
        distances, indices = super().kneighbors(X, min(n_neighbors + 1, self.n_samples_fit_))
        return distances[:, -n_neighbors:], indices[:, -n_neighbors:]


class Few(NearestNeighbors):
    """Looks at every second row first."""

    def kneighbors(self, X, n_neighbors):
        n = self.n_samples_fit_
        distances, indices = super().kneighbors(X, n)
        order = np.argsort((indices % 2 == 0) & (distances > 0), axis=1, kind="stable")[:, :n_neighbors]
        order.sort(axis=1)
        return np.take_along_axis(distances, order, axis=1), np.take_along_axis(indices, order, axis=1)


class Centering(NearestNeighbors):
    def fit(self, X):
        X -= X.mean(axis=0)
        return super().fit(X)


class OtherName(NearestNeighbors):
    def kneighbors(self, X, k):
        return super().kneighbors(X, k)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (ExactNeighbors, "The neighbor index ExactNeighbors must be an object. Got the class itself"),
        (OtherName(), "The neighbor index OtherName must be fitted and search rows .* It raised TypeError"),
        (NearestNeighbors(metric="nonsense"), "must be fitted and search rows .* It raised InvalidParameterError"),
        (Centering(), "must leave its arguments as they are. Got other values after rows searched among themselves"),
        (ConfidenceSelector(), "must be fitted and search rows searched among themselves. It raised AttributeError"),
        (BrokenIndex(lambda d, i: i), r"must return distances and indices, both of shape \(200, 10\), .* Got shapes"),
        (BrokenIndex(lambda d, i: None), "must return distances and indices, both .* It raised TypeError"),
        (BrokenIndex(lambda d, i: (d[:, 1:], i[:, 1:])), r"both of shape \(200, 10\), .* Got shapes \[\(200, 9\)"),
        (BrokenIndex(lambda d, i: (d, i + 1)), "must return indices from 0 to 199 .* Got int64 from 1 to 200"),
        (BrokenIndex(lambda d, i: (d, i * 1.0)), "must return indices from 0 to 199 .* Got float64"),
        (BrokenIndex(lambda d, i: (d[:, :1] + 0 * d, i[:, :1] + 0 * i)), "must name a row once .* for 200 rows"),
        (BrokenIndex(lambda d, i: (d[:, ::-1], i[:, ::-1])), "must return the nearest first. Got unsorted"),
        (BrokenIndex(lambda d, i: (d**2, i)), "must return the Euclidean distances .* Got distances off by up to"),
        (NearestNeighbors(metric="cosine"), "must return the Euclidean distances to the rows it names"),
        (WithoutItself(), "must count a fitted row among its neighbours for rows .* Got 0% that are"),
        (Few(), "must find 95% of the nearest rows for rows searched among themselves. Got [5-7].%"),
    ],
)
def test_broken_indexes_are_refused(index, message):
    refused(message, check_neighbor_index, index)


@pytest.mark.parametrize(
    ("check", "part"),
    [
        (partial(check_augmentation, input_shape=TABLE), FeatureCorruption()),
        (partial(check_backbone, input_shape=TABLE), nn.Sequential(nn.Linear(5, 3), nn.Dropout())),
        (check_metric_loss, foreign_losses.TripletMarginLoss(triplets_per_anchor=1)),
        (check_neighbor_index, ApproximateNeighbors()),
        (check_selector, NearestNeighborSelector(n_clusters=2)),
    ],
)
def test_checks_leave_the_global_generators_alone(check, part):
    def state():
        return repr((random.getstate(), np.random.get_state()[1:3], torch.get_rng_state().tolist()))  # noqa: NPY002

    before = state()
    check(part)
    assert state() == before
