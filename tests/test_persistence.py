"""Saved estimators predict the same wherever they are loaded, and exported networks without this package."""

import copy
import pickle
import pickletools

import joblib
import numpy as np
import pytest
import skops.io
import torch
from sklearn.base import clone
from torch import nn

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl._persistence import pack, unpack
from skdmlpl.selectors import NearestNeighborSelector

N_FEATURES = 4
Y = np.arange(60) % 3
X = np.random.default_rng(0).normal(size=(60, N_FEATURES)) + 3 * np.eye(3, N_FEATURES)[Y]
Y_PARTLY = np.where(np.arange(60) < 30, Y, -1)

# Every class in a saved estimator of the default network for tables.
TRUSTED = [
    "skdmlpl._classifier.DMLPseudoLabelClassifier",
    "skdmlpl._mlp._PeriodicEmbedding",
    "skdmlpl._mlp._StandardizedTable",
    "skdmlpl._network.Committee",
    "skdmlpl._network.EmbeddingNetwork",
    "skdmlpl._normal_scores.NormalScores",
    "skdmlpl._persistence.PackedTensor",
    "skdmlpl.interfaces.PseudoLabels",
    "skdmlpl.interfaces.RoundRecord",
    "torch.nn.modules.activation.GELU",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.dropout.Dropout",
    "torch.nn.modules.linear.Linear",
]


class Backbone(nn.Module):
    """Batch norm, a frozen layer, layers without bias, weights used twice, a buffer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(N_FEATURES, 8)
        self.norm = nn.BatchNorm1d(8)
        self.frozen = nn.Linear(8, 8, bias=False).requires_grad_(False)
        self.again = nn.Linear(8, 8, bias=False)
        self.once_more = nn.Linear(8, 8, bias=False)
        self.once_more.weight = self.again.weight
        self.register_buffer("shift", torch.arange(8.0))
        self.register_buffer("nothing", None)

    def forward(self, batch):
        hidden = self.once_more(self.again(self.frozen(self.norm(self.first(batch)).relu())))
        return hidden + self.shift


def images(n=12):
    return np.random.default_rng(0).integers(0, 256, (n, 1, 8, 8)).astype(np.uint8)


def classifier(**params):
    return DMLPseudoLabelClassifier(**({"n_steps": 3, "max_rounds": 1, "random_state": 0, "device": "cpu"} | params))


@pytest.fixture(scope="module")
def fitted():
    return classifier().fit(X, Y_PARTLY)


@pytest.fixture(scope="module")
def fitted_on_images():
    return classifier().fit(images(), np.arange(12) % 3, images(5))


@pytest.fixture(scope="module")
def fitted_with_parts():
    torch.manual_seed(0)
    return classifier(backbone=Backbone(), selector=NearestNeighborSelector(n_clusters=2)).fit(X, Y_PARTLY)


def through_pickle(model, folder):
    return pickle.loads(pickle.dumps(model))


def through_joblib(model, folder):
    joblib.dump(model, folder / "model.joblib", compress=3)
    return joblib.load(folder / "model.joblib")


def through_a_memory_map(model, folder):
    joblib.dump(model, folder / "model.joblib")
    return joblib.load(folder / "model.joblib", mmap_mode="r")


def through_skops(model, folder):
    skops.io.dump(model, folder / "model.skops")
    types = skops.io.get_untrusted_types(file=folder / "model.skops")
    return skops.io.load(folder / "model.skops", trusted=types)


def through_deepcopy(model, folder):
    return copy.deepcopy(model)


def under_another_default_device(model, folder):
    with torch.device("meta"):
        return through_pickle(model, folder)


ways = pytest.mark.parametrize(
    "way",
    [
        through_pickle,
        through_joblib,
        through_a_memory_map,
        through_skops,
        through_deepcopy,
        under_another_default_device,
    ],
)


@ways
@pytest.mark.parametrize("which", ["fitted", "fitted_on_images", "fitted_with_parts"])
def test_a_loaded_estimator_is_the_saved_one(way, which, request, tmp_path):
    model = request.getfixturevalue(which)
    rows = images(7) if which == "fitted_on_images" else X
    loaded = way(model, tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(rows), model.predict_proba(rows))
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(rows))
    np.testing.assert_array_equal(loaded.transform(rows), model.transform(rows))
    np.testing.assert_array_equal(loaded.transduction_, model.transduction_)
    assert loaded.history_[1].n_pseudo_labeled == model.history_[1].n_pseudo_labeled
    assert type(loaded.history_[1]) is type(model.history_[1])
    assert loaded.network_ is not model.network_
    assert not loaded.network_.training


@ways
def test_a_loaded_estimator_can_be_fitted_again(way, fitted_with_parts, tmp_path):
    again = way(fitted_with_parts, tmp_path).fit(X, Y_PARTLY)
    np.testing.assert_array_equal(again.predict_proba(X), fitted_with_parts.predict_proba(X))


def test_an_estimator_that_is_not_fitted_can_be_saved():
    loaded = pickle.loads(pickle.dumps(classifier(backbone=Backbone())))
    assert not hasattr(loaded, "network_")
    assert loaded.backbone.frozen.weight.requires_grad is False
    assert loaded.get_params()["n_steps"] == 3


def test_an_estimator_with_a_lazy_backbone_can_be_saved():
    lazy = DMLPseudoLabelClassifier(nn.Sequential(nn.LazyLinear(6)), n_steps=2, max_rounds=0, random_state=0)
    loaded = pickle.loads(pickle.dumps(lazy))
    assert isinstance(loaded.backbone[0], nn.LazyLinear)
    fitted = loaded.fit(X, Y)
    again = copy.deepcopy(pickle.loads(pickle.dumps(fitted)))
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert isinstance(again.backbone[0], nn.LazyLinear)


def test_saving_changes_nothing_of_the_estimator(fitted_with_parts):
    network, before = fitted_with_parts.network_, fitted_with_parts.predict_proba(X)
    pickle.dumps(fitted_with_parts)
    assert fitted_with_parts.network_ is network
    assert all(isinstance(tensor, torch.Tensor) for tensor in network.state_dict().values())
    np.testing.assert_array_equal(fitted_with_parts.predict_proba(X), before)


def test_predictions_need_none_of_what_grows_with_the_training_rows(fitted):
    light = copy.deepcopy(fitted)
    for name in ("transduction_", "labeled_iter_", "label_distributions_", "history_"):
        delattr(light, name)
    loaded = pickle.loads(pickle.dumps(light))
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(loaded.transform(X), fitted.transform(X))


def test_a_copy_shares_no_memory(fitted):
    loaded = pickle.loads(pickle.dumps(fitted))
    with torch.no_grad():
        for tensor in loaded.network_.state_dict().values():
            tensor.zero_()
    assert not np.array_equal(loaded.predict_proba(X), fitted.predict_proba(X))


# ------------------------------------------------------------------------------------------------------ another device


def test_what_is_saved_names_no_device(fitted_with_parts):
    """Neither a tensor nor a storage: nothing that torch would put back on the device it came from."""
    names = [str(argument) for _, argument, _ in pickletools.genops(pickle.dumps(fitted_with_parts)) if argument]
    assert "network_" in names
    assert not any("_rebuild" in name or "storage" in name.lower() for name in names)


def test_a_network_of_another_device_is_loaded_on_the_cpu(monkeypatch):
    """torch's meta device stands in for a GPU; it has shapes and no values, so they are made up on the way out."""
    model = classifier(backbone=Backbone()).fit(X, Y_PARTLY)
    model.network_.to("meta")
    model.backbone.to("meta")
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: torch.ones(tensor.shape, dtype=tensor.dtype))
    loaded = pickle.loads(pickle.dumps(model))
    for name in ("network_", "backbone"):
        assert {tensor.device.type for tensor in getattr(model, name).state_dict().values()} == {"meta"}
        assert {tensor.device.type for tensor in getattr(loaded, name).state_dict().values()} == {"cpu"}
    monkeypatch.undo()
    assert loaded.predict(X).shape == (60,)


def test_predictions_are_made_where_the_network_is(fitted):
    moved = copy.deepcopy(fitted)
    moved.network_.to("meta")
    with pytest.raises(NotImplementedError, match="meta"):
        moved.predict(X)


def test_packing_keeps_all_there_is_to_a_module():
    torch.manual_seed(0)
    module = Backbone().eval()
    module.half_precision = nn.Parameter(torch.arange(3, dtype=torch.bfloat16))  # numpy has no such dtype
    module.recurrent = nn.GRU(4, 3)  # which holds its weights in a list, too
    module.image = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    module.expanded = nn.Parameter(torch.ones(1).expand(4), requires_grad=False)
    loaded = unpack(pickle.loads(pickle.dumps(pack(module))))
    rows = torch.rand(5, N_FEATURES)
    assert torch.equal(loaded(rows), module(rows))
    assert torch.equal(loaded.recurrent(rows)[0], module.recurrent(rows)[0])
    assert loaded.image.weight.stride() == module.image.weight.stride()
    assert torch.equal(loaded.expanded, module.expanded)
    assert loaded.once_more.weight is loaded.again.weight
    assert loaded.nothing is None
    assert loaded.shift.grad_fn is None
    assert not isinstance(loaded.shift, nn.Parameter)
    assert torch.equal(loaded.half_precision, module.half_precision)
    expected = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    assert {name: parameter.requires_grad for name, parameter in loaded.named_parameters()} == expected


# --------------------------------------------------------------------------------------------------------------- skops


def test_trusted_types_are_the_documented_ones(fitted):
    assert skops.io.get_untrusted_types(data=skops.io.dumps(fitted)) == TRUSTED


def test_skops_asks_before_it_loads(fitted):
    data = skops.io.dumps(fitted)
    with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException):
        skops.io.loads(data)
    np.testing.assert_array_equal(skops.io.loads(data, trusted=TRUSTED).predict(X), fitted.predict(X))


def test_clones_need_no_saving(fitted_with_parts):
    assert clone(fitted_with_parts).backbone.frozen.weight.requires_grad is False


# -------------------------------------------------------------------------------------------------------------- export


def given(which):
    """Rows as the estimator takes them, and as its network does."""
    return (X[:7], X[:7]) if which == "fitted" else (images(7), images(7) / np.float32(255))


@pytest.mark.parametrize("which", ["fitted", "fitted_on_images"])
def test_exported_networks_predict_the_same(which, request, tmp_path):
    model, (rows, as_floats) = request.getfixturevalue(which), given(which)
    # torch.export.save warns of weights with the channels last in memory.
    network = copy.deepcopy(model.network_).to(memory_format=torch.contiguous_format)
    batch = torch.from_numpy(as_floats).to(network.input_dtype)
    program = torch.export.export(network, (batch[:2],), dynamic_shapes=({0: torch.export.Dim("n_rows", min=1)},))
    torch.export.save(program, tmp_path / "network.pt2")
    loaded = torch.export.load(tmp_path / "network.pt2").module()
    for n in (1, 7):
        embeddings, logits = loaded(batch[:n])
        np.testing.assert_allclose(embeddings.detach(), model.transform(rows[:n]), atol=1e-6)
        np.testing.assert_allclose(logits.softmax(dim=1).detach(), model.predict_proba(rows[:n]), atol=1e-6)


@pytest.mark.parametrize("which", ["fitted", "fitted_on_images"])
def test_the_bare_network_predicts_the_same(which, request):
    model, (rows, as_floats) = request.getfixturevalue(which), given(which)
    with torch.inference_mode():
        embeddings, logits = model.network_(torch.from_numpy(as_floats).to(model.network_.input_dtype))
    np.testing.assert_allclose(embeddings, model.transform(rows), rtol=1e-6)
    np.testing.assert_array_equal(model.classes_[logits.argmax(dim=1).numpy()], model.predict(rows))
