import pickle
import subprocess
import sys
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from skdmlpl.backbones import small_convnet, torchvision_backbone, wide_resnet28_2

FACTORIES = [small_convnet, wide_resnet28_2]


def n_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("factory", FACTORIES)
class TestImageNetworks:
    @pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (1, 28, 28), (5, 4, 4), (2, 7, 12), (3, 1, 1)])
    def test_shapes_and_gradients(self, factory, shape):
        network = factory(shape)
        out = network(torch.rand(4, *shape))
        assert out.shape == (4, 128)
        assert out.dtype == torch.float32
        out.square().mean().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        assert network.eval()(torch.rand(1, *shape)).shape == (1, 128)

    def test_adapt_learns_mean_and_std(self, factory, rng):
        images = (rng.normal(size=(70, 3, 5, 4)) * [[[[2]], [[30]], [[0.1]]]] + [[[[100]], [[-3]], [[0]]]]).astype("f4")
        network = factory((3, 5, 4))
        before = [parameter.clone() for parameter in network.parameters()]
        network.adapt(torch.from_numpy(images[start : start + 32]) for start in range(0, 96, 32))  # the last is short
        mean, std = (value.numpy().ravel() for value in (network.normalize.mean, network.normalize.std))  # views
        np.testing.assert_allclose(mean, images.mean((0, 2, 3), dtype="f8"), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(std, images.std((0, 2, 3), dtype="f8"), rtol=1e-5)
        assert all(map(torch.equal, before, network.parameters()))
        network.adapt([torch.from_numpy(images) + 1])  # learns anew
        np.testing.assert_allclose(mean, images.mean((0, 2, 3), dtype="f8") + 1, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("scale", [255, 1e25, 1e-25])  # the squares of the latter are beyond float32
    def test_adapted_network_knows_no_range(self, factory, scale):
        images = torch.rand(20, 3, 8, 8)
        network = factory((3, 8, 8)).eval()
        network.adapt([images])
        expected = network(images)
        network.adapt([images * scale])
        torch.testing.assert_close(network(images * scale), expected, rtol=1e-3, atol=1e-3)

    def test_constant_channels(self, factory):
        images = torch.rand(20, 3, 4, 4)
        images[:, 1] = 0.1
        images[:, 2] = 0
        network = factory((3, 4, 4)).eval()
        network.adapt(images.split(7))
        normalized = network.normalize(images)
        assert normalized[:, 0].std(correction=0).item() == pytest.approx(1, abs=1e-4)
        assert normalized[:, 1:].abs().max() < 1e-6
        assert network(images).isfinite().all()

    def test_adapt_needs_images(self, factory):
        with pytest.raises(ValueError, match=r"adapt needs at least one row\. Got none\."):
            factory((3, 8, 8)).adapt([torch.zeros(0, 3, 8, 8)])

    def test_copies(self, factory):
        network = factory((3, 8, 8)).eval()
        network.adapt([torch.rand(9, 3, 8, 8)])
        images = torch.rand(4, 3, 8, 8)
        again = factory((3, 8, 8)).eval()
        again.load_state_dict(network.state_dict())
        for copy in (deepcopy(network), pickle.loads(pickle.dumps(network)), again):
            assert torch.equal(copy(images), network(images))
        assert pickle.loads(pickle.dumps(factory)) is factory

    def test_the_seed_decides(self, factory):
        first, second = (self._seeded(factory, seed) for seed in (3, 3))
        assert all(map(torch.equal, first.parameters(), second.parameters()))

    @staticmethod
    def _seeded(factory, seed):
        torch.manual_seed(seed)
        return factory((3, 8, 8))

    @pytest.mark.parametrize("shape", [(10,), (8, 8), (3, 0, 8), (2, 3, 8, 8)])
    def test_refuses_what_is_no_image(self, factory, shape):
        with pytest.raises(ValueError, match=rf"{factory.__name__} needs images, an input_shape of .* Got \("):
            factory(shape)


def test_parameter_counts():
    assert 0.3e6 < n_parameters(small_convnet((3, 32, 32))) < 0.7e6
    # 1.47 million, as the literature has it for WRN-28-2, with the classifier of 10 classes that is not part of it
    assert n_parameters(wide_resnet28_2((3, 32, 32))) + 1290 == 1_467_610


def test_wide_resnet_has_28_layers():
    network = wide_resnet28_2((3, 32, 32))
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == 25  # and three 1 x 1 shortcuts
    assert [m.stride for m in network.modules() if isinstance(m, nn.Conv2d)].count((2, 2)) == 4


def small_vit():
    from torchvision.models import VisionTransformer

    return VisionTransformer(image_size=32, patch_size=16, num_layers=1, num_heads=2, hidden_dim=24, mlp_dim=24)


def small_convnext():
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(16, 24, 1), CNBlockConfig(24, None, 1)])


@pytest.mark.parametrize(
    ("builder", "width"),
    [
        ("resnet18", 512),
        ("mobilenet_v3_small", 1024),
        ("efficientnet_b0", 1280),
        (small_vit, 24),
        (small_convnext, 24),
    ],
)
def test_torchvision_heads_are_removed(builder, width):
    models = pytest.importorskip("torchvision.models")
    factory = torchvision_backbone(getattr(models, builder) if isinstance(builder, str) else builder)
    network = factory((3, 32, 32))
    assert network.training
    assert not any(isinstance(m, nn.Linear) and m.out_features == 1000 for m in network.modules())
    network.adapt([torch.rand(4, 3, 32, 32)])
    images = torch.rand(2, 3, 32, 32)
    assert network(images).shape == (2, width)
    copy = pickle.loads(pickle.dumps(network.eval()))
    assert torch.equal(copy(images), network(images))


@pytest.fixture(scope="module")
def resnet18():
    return pytest.importorskip("torchvision.models").resnet18


class TestTorchvisionBackbone:
    def test_takes_a_model_and_leaves_it_alone(self, resnet18):
        model = resnet18().eval()
        network = torchvision_backbone(model)((3, 32, 32))
        assert isinstance(model.fc, nn.Linear)
        assert not model.training
        images = torch.rand(2, 3, 32, 32)
        headless = deepcopy(model)
        headless.fc = nn.Identity()
        torch.testing.assert_close(network.eval()(images), headless(images))
        network.adapt([images])
        with torch.no_grad():
            next(network.parameters()).zero_()
        assert next(model.parameters()).abs().sum() > 0

    def test_gray_images_are_repeated(self, resnet18):
        network = torchvision_backbone(resnet18)((1, 32, 32)).eval()
        images = torch.rand(2, 1, 32, 32)
        network.adapt([images])
        expected = network.network[1](network.normalize(images).repeat(1, 3, 1, 1))
        assert torch.equal(network(images), expected)

    def test_imagenet_statistics(self, resnet18):
        model = resnet18()
        one, byte = (torchvision_backbone(model, pixel_max=most)((3, 32, 32)).eval() for most in (1, 255))
        gray = torchvision_backbone(model, pixel_max=1)((1, 32, 32)).eval()
        assert not hasattr(one, "adapt")  # the statistics are given, not learned
        images = torch.rand(2, 3, 32, 32)
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        headless = deepcopy(model).eval()
        headless.fc = nn.Identity()
        torch.testing.assert_close(one(images), headless((images - mean) / std))
        torch.testing.assert_close(byte(images * 255), one(images), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(gray(images[:, :1]), one(images[:, :1].repeat(1, 3, 1, 1)))

    def test_dropout_before_the_head_goes_too(self):
        models = pytest.importorskip("torchvision.models")
        network = torchvision_backbone(models.mobilenet_v3_small)((3, 32, 32)).network[0]
        assert [type(layer) for layer in network.classifier] == [nn.Linear, nn.Hardswish, nn.Identity, nn.Identity]

    def test_factory_copies(self, resnet18):
        for model in (resnet18, partial(resnet18, num_classes=3), resnet18()):
            factory = torchvision_backbone(model)
            for copy in (deepcopy(factory), pickle.loads(pickle.dumps(factory))):
                assert copy((3, 32, 32)).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 512)

    def test_refuses_what_is_no_model(self):
        with pytest.raises(TypeError, match=r"The 'model' parameter .* must be a .* Got 'resnet18' instead\."):
            torchvision_backbone("resnet18")

    @pytest.mark.parametrize("pixel_max", [0, -1, np.inf, np.nan, "imagenet"])
    def test_refuses_pixel_max(self, resnet18, pixel_max):
        with pytest.raises(ValueError, match=r"The 'pixel_max' parameter of torchvision_backbone must be .* instead\."):
            torchvision_backbone(resnet18, pixel_max=pixel_max)

    def test_refuses_pixel_max_for_a_model_of_grey_images(self, resnet18):
        model = resnet18()
        model.conv1 = nn.Conv2d(1, 64, 7)
        with pytest.raises(ValueError, match=r"'pixel_max' parameter .* ResNet takes 1: leave it None"):
            torchvision_backbone(model, pixel_max=1)((1, 32, 32))

    def test_names_what_does_not_fit(self, resnet18):
        models = pytest.importorskip("torchvision.models")
        with pytest.raises(ValueError, match=r"ResNet does not take images of shape \(4, 32, 32\): .*3 channels"):
            torchvision_backbone(resnet18)((4, 32, 32))
        with pytest.raises(ValueError, match=r"VisionTransformer does not take .* Expected 32 but got 28"):
            torchvision_backbone(small_vit)((3, 28, 28))
        with pytest.raises(ValueError, match=r"SqueezeNet has none: remove the layer and give the model itself"):
            torchvision_backbone(models.squeezenet1_1)((3, 32, 32))
        with pytest.raises(ValueError, match=r"GoogLeNet returns auxiliary outputs .* aux_logits=False"):
            torchvision_backbone(partial(models.googlenet, init_weights=False))((3, 32, 32))
        with pytest.raises(ValueError, match=r"torchvision_backbone needs images"):
            torchvision_backbone(resnet18)((12,))


def test_a_model_of_another_kind_is_refused_by_the_shape_of_its_features():
    class Segmenter(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Conv2d(3, 4, 1)
            self.head = nn.Linear(4, 4)

        def forward(self, images):
            return self.head(self.body(images).movedim(1, -1))

    with pytest.raises(ValueError, match=r"features are of shape \(b, d\)\. Segmenter returns shape \(2, 8, 8, 4\)"):
        torchvision_backbone(Segmenter())((3, 8, 8))


def test_importing_backbones_leaves_torchvision_out():
    code = "import skdmlpl.backbones, sys; assert 'torchvision' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
