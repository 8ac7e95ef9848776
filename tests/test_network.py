"""The embedding network around a backbone, and what it says of backbones that do not fit."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

from skdmlpl import _network
from skdmlpl._mlp import mlp
from skdmlpl._network import EmbeddingNetwork, build_committee, build_network, mixed_precision
from skdmlpl._objectives import Objective
from skdmlpl._rows import Rows
from skdmlpl._training import Budget, Training, compare_in_batches

EXAMPLE = torch.arange(8.0).view(2, 4)


class Returns(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, batch):
        return self.function(batch)


def test_embeddings_have_unit_length_and_logits_are_linear_in_the_features():
    network = build_network(nn.Linear(4, 6), EXAMPLE, n_classes=3)
    rows = 100 * torch.randn(50, 4)
    embeddings, logits = network(rows)
    assert embeddings.shape == (50, 6)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(50))
    torch.testing.assert_close(logits, network.backbone(rows) @ network.head.weight.T + network.head.bias)


def test_a_committee_says_what_its_members_say_in_the_mean():
    backbone = nn.Linear(4, 6).double()
    backbone.input_dtype = torch.float64
    committee = build_committee(lambda shape: copy.deepcopy(backbone), EXAMPLE.double(), n_classes=3, n_networks=3)
    committee.double()
    rows = torch.randn(50, 4, dtype=torch.float64)
    embeddings, logits = committee(rows)
    apart = [member(rows) for member in committee.members]
    assert embeddings.shape == (50, committee.embedding_dim) == (50, 18)
    cosines = [(one @ one.T) for one, _ in apart]
    torch.testing.assert_close(embeddings @ embeddings.T, sum(cosines) / 3)
    torch.testing.assert_close(logits, sum(one for _, one in apart) / 3)
    assert committee.input_dtype == torch.float64
    assert committee.device == torch.device("cpu")
    # Heads differ from the start, whatever the backbone.
    assert not torch.equal(apart[0][1], apart[1][1])


class WithNeighborFeatures(nn.Linear):
    def neighbor_features(self, features, rows):
        self.given = features, rows
        return torch.cat([features, 2 * rows], dim=1)


def test_a_backbone_may_say_by_what_neighbors_are_looked_for():
    network = build_network(WithNeighborFeatures(4, 6), EXAMPLE, n_classes=3)
    rows = torch.randn(50, 4)
    network.adapt(Rows(rows.numpy()))
    places, logits = network.compare(rows)
    embeddings, same_logits = network(rows)
    features, given = network.backbone.given
    assert given is rows
    torch.testing.assert_close(F.normalize(features), embeddings)
    torch.testing.assert_close(features.norm(dim=1).mean(), torch.tensor(1.0))
    torch.testing.assert_close(places, F.normalize(torch.cat([features, 2 * rows], dim=1)))
    torch.testing.assert_close(logits, same_logits)


def test_without_a_word_from_the_backbone_neighbors_are_those_of_the_embeddings():
    network = build_network(nn.Linear(4, 6), EXAMPLE, n_classes=3)
    rows = torch.randn(50, 4)
    for part, expected in zip(network.compare(rows), network(rows), strict=True):
        assert torch.equal(part, expected)


def test_a_committee_compares_by_the_mean_of_its_members_cosines():
    committee = build_committee(lambda shape: WithNeighborFeatures(4, 6), EXAMPLE, n_classes=3, n_networks=2)
    rows = torch.randn(50, 4)
    places, logits = committee.compare(rows)
    assert places.shape == (50, 20)
    apart = [member.compare(rows)[0] for member in committee.members]
    torch.testing.assert_close(places @ places.T, sum(one @ one.T for one in apart) / 2)
    torch.testing.assert_close(logits, committee(rows)[1])


def test_each_member_of_a_committee_learns_the_scale_of_its_features():
    rows = Rows(np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    committee = build_committee(lambda shape: nn.Linear(4, 6), EXAMPLE, n_classes=3, n_networks=2)
    committee.adapt(rows)
    scales = [member.scale.item() for member in committee.members]
    for member in committee.members:
        features = (member.backbone(rows[np.arange(40)]) - member.center) * member.scale
        assert features.norm(dim=1).mean().item() == pytest.approx(1, rel=1e-5)
    assert scales[0] != scales[1]


def test_one_network_is_its_own_committee():
    alone = build_committee(nn.Linear(4, 6), EXAMPLE, n_classes=3, n_networks=1)
    assert isinstance(alone, EmbeddingNetwork)
    assert list(alone.members) == [alone]
    assert alone.embedding_dim == 6


def test_mirrored_images_are_predicted_alike_and_trained_apart():
    network = EmbeddingNetwork(nn.Flatten(), 12, 3, mirror=True)
    images = torch.rand(4, 3, 2, 2)
    mirrored = images.flip(-1)
    torch.testing.assert_close(network.eval()(images), network(mirrored))
    _, logits = network(images)
    one_sided = EmbeddingNetwork(nn.Flatten(), 12, 3).eval()
    one_sided.load_state_dict(network.state_dict())
    both = [one_sided(view)[1] for view in (images, mirrored)]
    torch.testing.assert_close(logits, (both[0] + both[1]) / 2)
    torch.testing.assert_close(network.train()(images)[1], both[0])


def test_a_row_the_backbone_maps_to_zero_gives_finite_numbers():
    network = build_network(Returns(torch.zeros_like), EXAMPLE, n_classes=3)
    embeddings, logits = network(EXAMPLE)
    assert embeddings.isfinite().all()
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("n_dims", "device", "native", "training", "lower"),
    [
        pytest.param(4, "cuda", True, True, True, id="images on a GPU"),
        pytest.param(4, "cuda", True, False, True, id="images on a GPU, to predict"),
        pytest.param(4, "cuda", False, True, False, id="images on a GPU that emulates bfloat16"),
        pytest.param(2, "cuda", True, True, False, id="a table on a GPU"),
        pytest.param(4, "cpu", True, True, True, id="images on a CPU"),
        pytest.param(4, "cpu", True, False, False, id="images on a CPU, to predict"),
        pytest.param(4, "cpu", False, True, False, id="images on a CPU that emulates bfloat16"),
        pytest.param(2, "cpu", True, True, False, id="a table on a CPU"),
    ],
)
def test_the_device_and_the_kind_of_rows_choose_the_precision(monkeypatch, n_dims, device, native, training, lower):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native, "avx2": True}, raising=False)
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: asked.append((args, kwargs)))
    _network._cpu_computes_in_bfloat16.cache_clear()
    mixed_precision(SimpleNamespace(ndim=n_dims, is_cuda=device == "cuda", is_cpu=device == "cpu"), training)
    _network._cpu_computes_in_bfloat16.cache_clear()
    assert asked == [((device,), {"dtype": torch.bfloat16})] * lower


def test_in_mixed_precision_a_network_trains_in_float32(monkeypatch):
    """What runs on a GPU, with a CPU's bfloat16: only the backbone's inside is of lower precision."""
    inside = []
    tap = Returns(lambda batch: inside.append(batch.dtype) or batch)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), tap, nn.Flatten())
    images = torch.randn(16, 3, 5, 5)
    target = (images.mean((1, 2, 3)) > 0).long()
    network = build_network(backbone, images[:2], n_classes=2)
    full = network.eval()(images)

    lower_precision = torch.autocast("cpu", dtype=torch.bfloat16)
    monkeypatch.setattr(_network, "mixed_precision", lambda batch, training: lower_precision)
    inside.clear()
    for lower, exact in zip(network(images), full, strict=True):
        assert lower.dtype == torch.float32
        torch.testing.assert_close(lower, exact, rtol=0, atol=0.02)
        assert not torch.equal(lower, exact)
    objective = Objective(("cross-entropy",), (1.0,), lambda: (F.cross_entropy(network(images)[1], target),))
    before = objective.draw()[0].item()
    Training(network, Budget(50, 0.02, 0.0)).run([objective], 50)
    assert objective.draw()[0].item() < 0.5 * before
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    outputs = compare_in_batches(network, Rows(images.numpy()))
    assert {output.dtype for output in outputs} == {np.dtype(np.float32)}
    assert set(inside) == {torch.bfloat16}


def test_features_are_scaled_as_training_sees_them():
    """A new batch norm divides by 1 until it has seen batches; here that would be off by a factor of 1,000."""
    linear = nn.Linear(4, 6)
    linear.weight.data.mul_(1e-3)
    network = build_network(nn.Sequential(linear, nn.BatchNorm1d(6)), EXAMPLE, n_classes=3)
    rows = torch.randn(200, 4)
    before = copy.deepcopy(network.backbone.state_dict())
    network.adapt(Rows(rows.numpy()))
    assert all(torch.equal(value, before[name]) for name, value in network.backbone.state_dict().items())
    with torch.no_grad():
        features = (network.train().backbone(rows) - network.center) * network.scale
    assert features.mean(dim=0).abs().max() < 0.05
    assert features.norm(dim=1).mean() == pytest.approx(1, abs=0.05)


class FrozenNorm(nn.Sequential):
    """Divides by the statistics it came with, in training too."""

    def train(self, mode=True):
        super().train(mode)
        self[1].eval()
        return self


def test_norms_that_a_backbone_keeps_frozen_are_seen_as_training_sees_them():
    backbone = FrozenNorm(nn.Linear(4, 6), nn.BatchNorm1d(6))
    backbone[1].running_var.fill_(1e4)
    network = build_network(backbone, EXAMPLE, n_classes=3)
    rows = torch.randn(200, 4)
    network.adapt(Rows(rows.numpy()))
    with torch.no_grad():
        features = (network.train().backbone(rows) - network.center) * network.scale
    assert features.norm(dim=1).mean() == pytest.approx(1, abs=0.05)


class WritesToItsInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 5)

    def forward(self, batch):
        return self.linear(batch.mul_(3).add_(1).flatten(1))


def test_what_a_backbone_does_to_its_input_is_seen_by_no_other_pass():
    images = torch.rand(6, 3, 2, 2)
    committee = build_committee(lambda shape: WritesToItsInput(), images, n_classes=2, n_networks=2, mirror=True).eval()
    before = images.clone()
    _, logits = committee(images)
    assert torch.equal(images, before)
    for member in committee.members:
        both = [member.backbone(view.clone()) for view in (images, images.flip(-1))]
        logits = logits - member.head(sum(both) / 2) / 2
    torch.testing.assert_close(logits, torch.zeros(6, 2))


def test_a_module_is_copied_and_left_alone():
    backbone = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    before = copy.deepcopy(backbone.state_dict())
    network = build_network(backbone, EXAMPLE, n_classes=3)
    assert backbone.training
    network.train()(torch.randn(8, 4))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    for name, value in backbone.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    for name, buffer in build_network(backbone, EXAMPLE, n_classes=3).backbone.named_buffers():
        torch.testing.assert_close(buffer, before[name], rtol=0, atol=0)


def test_a_factory_is_called_with_the_shape_of_a_row():
    shapes = []

    def factory(input_shape):
        shapes.append(input_shape)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 5))

    network = build_network(factory, torch.zeros(2, 3, 2, 2), n_classes=3)
    assert shapes == [(3, 2, 2)]
    assert network.head.weight.shape == (3, 5)


def test_lazy_modules_are_built_by_the_dry_forward():
    network = build_network(lambda shape: nn.Sequential(nn.LazyLinear(7)), EXAMPLE, n_classes=3)
    assert copy.deepcopy(network.state_dict())["backbone.0.weight"].shape == (7, 4)


@pytest.mark.parametrize(
    ("backbone", "error", "words"),
    [
        (lambda shape: "a network", TypeError, ["Module", "returns one", "Got str from the callable"]),
        (lambda shape: None, TypeError, ["Got NoneType from the callable"]),
        (lambda shape: nn.Linear(shape, 1), ValueError, ["(4,), its only argument. <lambda> failed with TypeError: "]),
        (nn.Bilinear, ValueError, ["Bilinear, of which an instance may be meant, failed", "missing"]),
        (models.resnet18, ValueError, ["skdmlpl.backbones.torchvision_backbone", "too many positional arguments"]),
        (nn.Linear(5, 2), ValueError, ["(4,)", "batch of shape (2, 4)", "RuntimeError", "2x4 and 5x2"]),
        (nn.Conv2d(4, 2, 1), ValueError, ["(4,)", "batch of shape (2, 4)", "RuntimeError"]),
        (Returns(lambda x: (x, x)), TypeError, ["(batch, d)", "Got tuple"]),
        (Returns(lambda x: x[:, :, None, None]), ValueError, ["(batch, d)", "Got (2, 4, 1, 1)"]),
        (Returns(lambda x: x.flatten()), ValueError, ["(batch, d)", "Got (8,)"]),
        (Returns(lambda x: x[:1]), ValueError, ["(batch, d)", "Got (1, 4)"]),
        (Returns(lambda x: x[:, :0]), ValueError, ["(batch, d)", "Got (2, 0)"]),
    ],
    ids=[
        "factory of str",
        "factory of None",
        "failing factory",
        "class",
        "function of torchvision",
        "width",
        "images",
        "tuple",
        "4-D",
        "1-D",
        "fewer rows",
        "no columns",
    ],
)
def test_errors_name_the_backbone_what_it_must_do_and_what_it_did(backbone, error, words):
    with pytest.raises(error) as info:
        build_network(backbone, EXAMPLE, n_classes=3)
    for word in ["The 'backbone' parameter of DMLPseudoLabelClassifier must", *words]:
        assert word in str(info.value)


def test_a_device_that_cannot_hold_the_network_is_refused():
    class Immovable(nn.Linear):
        def _apply(self, *args, **kwargs):
            raise TypeError("no float64 here.")

    message = r"The 'device' parameter .* Immovable cannot be moved to 'cpu': no float64 here\."
    with pytest.raises(ValueError, match=message):
        build_network(Immovable(4, 2), EXAMPLE, n_classes=3)


def test_adapt_shows_all_rows_once_in_order():
    seen = []

    class Adapting(nn.Linear):
        input_dtype = torch.float64

        def adapt(self, batches):
            seen.extend(batches)

    network = build_network(Adapting(4, 2).double(), EXAMPLE, n_classes=3)
    network.adapt(Rows(EXAMPLE.numpy(), -EXAMPLE.numpy(), dtype=network.input_dtype))
    assert network.input_dtype == torch.float64
    torch.testing.assert_close(torch.cat(seen), torch.cat([EXAMPLE, -EXAMPLE]).double())


@pytest.mark.parametrize("n_networks", [1, 2])
def test_a_backbone_is_shown_labelled_rows_and_their_labels_after_all_rows(n_networks):
    class Adapting(nn.Linear):
        def adapt(self, batches):
            self.n_seen = sum(map(len, batches))

        def adapt_to_labels(self, batches, n_classes):
            rows, labels = zip(*batches, strict=True)
            self.shown = torch.cat(rows), torch.cat(labels), n_classes, self.n_seen

    network = build_committee(lambda shape: Adapting(4, 2), EXAMPLE, n_classes=3, n_networks=n_networks)
    network.adapt(Rows(EXAMPLE.numpy(), -EXAMPLE.numpy()), y=np.array([-1, 2, 0, -1]))
    for member in network.members:
        rows, labels, n_classes, n_seen = member.backbone.shown
        torch.testing.assert_close(rows, torch.stack([EXAMPLE[1], -EXAMPLE[0]]))
        assert labels.tolist() == [2, 0]
        assert n_classes == 3
        assert n_seen == 4


def test_a_backbone_without_wishes_gets_float32_and_no_adaptation():
    network = build_network(nn.Linear(4, 2), EXAMPLE, n_classes=3)
    network.adapt(Rows(EXAMPLE.numpy()))
    assert network.input_dtype == torch.float32


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_adapted_features_have_mean_zero_and_mean_length_one(scale):
    rows = Rows(np.random.default_rng(0).normal(size=(100, 4)) + 5)
    network = build_network(Returns(lambda batch: scale * batch + 3 * scale), rows[np.arange(2)], n_classes=3)
    network.adapt(rows)
    features = (network.backbone(rows[np.arange(100)]) - network.center) * network.scale
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(features.norm(dim=1).mean(), torch.tensor(1.0))


@pytest.mark.parametrize("n_networks", [1, 2])
def test_networks_can_adapt_to_some_of_the_rows(n_networks):
    rows = np.random.default_rng(0).normal(size=(300, 4))
    chosen = np.arange(5, 290, 3)
    alone, among = (build_committee(mlp, EXAMPLE, n_classes=3, n_networks=n_networks) for _ in range(2))
    among.load_state_dict(alone.state_dict())
    alone.adapt(Rows(rows[chosen], dtype=alone.input_dtype))
    among.adapt(Rows(rows, dtype=among.input_dtype), chosen)
    for values, expected in zip(among.buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(values, expected, rtol=0, atol=0)
