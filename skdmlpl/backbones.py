"""Networks for tables and images that make feature vectors of a batch; see :class:`skdmlpl.interfaces.BackboneFactory`.

Each function here is, or returns, a factory: called with the shape of one image it builds the network. Building draws
the weights from torch's global generator, which the estimator seeds and restores.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from itertools import pairwise
from numbers import Real

import torch
from torch import Tensor, nn

from skdmlpl._image_layers import Normalize, NormalizedImages, check_image_shape, conv
from skdmlpl._mlp import mlp
from skdmlpl._small_convnet import small_convnet
from skdmlpl.interfaces import BackboneFactory

__all__ = ["mlp", "small_convnet", "torchvision_backbone", "wide_resnet28_2"]

# Statistics of the ImageNet training images that torchvision's weights were trained with, for pixels in [0, 1].
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def wide_resnet28_2(input_shape: tuple[int, ...]) -> nn.Module:
    """Build WRN-28-2, the network that most work on semi-supervised learning of small images is measured with.

    The wide residual network [1]_ of depth 28 and widening factor 2, with leaky rectifiers of slope 0.1 as in the
    semi-supervised literature since [2]_; about 1.47 million parameters. Some ten times the computation of
    :func:`small_convnet`.

    Parameters
    ----------
    input_shape : tuple of int, (channels, height, width)
        Shape of one image: any number of channels, sides of any length; made for 32 pixels.

    Returns
    -------
    nn.Module
        Maps images (b, channels, height, width), float, to features (b, 128). Its method ``adapt(batches)`` learns the
        mean and standard deviation of each channel, by which images are then normalised; without it they are used as
        they are.

    Raises
    ------
    ValueError
        If ``input_shape`` is not the shape of an image.

    References
    ----------
    .. [1] Zagoruyko, Komodakis (2016). "Wide residual networks". :arxiv:`1605.07146`.
    .. [2] Oliver, Odena, Raffel, Cubuk, Goodfellow (2018). "Realistic evaluation of deep semi-supervised learning
       algorithms". :arxiv:`1804.09170`.

    Examples
    --------
    >>> import torch
    >>> from skdmlpl.backbones import wide_resnet28_2
    >>> network = wide_resnet28_2((3, 32, 32))
    >>> network(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 128])
    """
    channels, *_ = check_image_shape(input_shape, "wide_resnet28_2")
    layers: list[nn.Module] = [conv(channels, 16)]
    width = 16
    for wider, stride in ((32, 1), (64, 2), (128, 2)):
        layers.append(_WideBlock(width, wider, stride, activate_shortcut=width == 16))
        layers += [_WideBlock(wider, wider) for _ in range(3)]
        width = wider
    layers += [nn.BatchNorm2d(width), nn.LeakyReLU(0.1, inplace=True)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=0.1)
    return NormalizedImages(channels, network)


def torchvision_backbone(
    model: nn.Module | Callable[[], nn.Module], *, pixel_max: float | None = None
) -> BackboneFactory:
    """Make a factory of a torchvision classifier: its classification layer is taken off, its features are returned.

    Images of one channel are repeated to the number of channels the model takes.

    Parameters
    ----------
    model : nn.Module or callable
        A model, of which copies are used, or a function without arguments that builds one, such as
        ``torchvision.models.resnet18``. Arguments are bound with :func:`functools.partial`, say
        ``partial(resnet18, weights="DEFAULT")`` for pretrained weights.
    pixel_max : float, default=None
        How images are normalised. None learns the mean and standard deviation of each channel from the training images,
        whatever their range. A number normalises by the statistics of ImageNet for pixels from 0 to ``pixel_max``: 1
        for uint8 images given to the estimator, which scales them to [0, 1], and 255 for floats up to 255.

    Returns
    -------
    callable
        The factory, for the estimator's ``backbone``. Called with the shape of one image it returns a network that maps
        images (b, channels, height, width), float, to features (b, d). It raises a ValueError if the model has no
        classification layer to take off, or does not take images of that shape. It can be pickled if ``model`` can.

    Raises
    ------
    TypeError
        If ``model`` is neither a module nor callable.
    ValueError
        If ``pixel_max`` is not a positive number. The function returned raises it for a ``pixel_max`` with a model that
        takes other than three channels, and for images that the model does not take.

    Examples
    --------
    >>> import torch
    >>> from torchvision.models import resnet18
    >>> from skdmlpl.backbones import torchvision_backbone
    >>> network = torchvision_backbone(resnet18)((3, 32, 32))
    >>> network(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 512])
    """
    if not callable(model):  # modules are callable
        raise TypeError(
            f"The 'model' parameter of torchvision_backbone must be a torch.nn.Module or a function that builds one. "
            f"Got {model!r} instead."
        )
    if pixel_max is not None and not (isinstance(pixel_max, Real) and 0 < pixel_max < math.inf):
        raise ValueError(
            "The 'pixel_max' parameter of torchvision_backbone must be None or a finite number greater than 0. "
            f"Got {pixel_max!r} instead."
        )
    return partial(_headless, model, pixel_max)


def _headless(
    model: nn.Module | Callable[[], nn.Module], pixel_max: float | None, input_shape: tuple[int, ...]
) -> nn.Module:
    channels, *_ = check_image_shape(input_shape, "torchvision_backbone")
    model = deepcopy(model) if isinstance(model, nn.Module) else model()
    _remove_head(model)
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    wanted = channels if first is None else first.in_channels
    layers = [_RepeatChannel(wanted)] if channels == 1 and wanted > 1 else []
    if pixel_max is None:
        network = NormalizedImages(channels, nn.Sequential(*layers, model))
    elif wanted != 3:
        raise ValueError(
            "The 'pixel_max' parameter of torchvision_backbone is for models that take the three channels of ImageNet. "
            f"{type(model).__name__} takes {wanted}: leave it None."
        )
    else:
        normalize = Normalize(3)
        normalize.mean.copy_(torch.tensor(_IMAGENET_MEAN).view(3, 1, 1) * pixel_max)
        normalize.std.copy_(torch.tensor(_IMAGENET_STD).view(3, 1, 1) * pixel_max)
        network = nn.Sequential(*layers, normalize, model)
    _try_out(network, model, input_shape)
    return network.to(memory_format=torch.channels_last)


def _remove_head(model: nn.Module) -> None:
    """Replace the last linear layer of the model's head by nothing, and a dropout right before it too."""
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.split(".")[0] in ("fc", "classifier", "head", "heads")
    ]
    if not names:
        raise ValueError(
            "torchvision_backbone needs a model whose classification layer is the last nn.Linear of its 'fc', "
            f"'classifier', 'head' or 'heads'. {type(model).__name__} has none: remove the layer and give the model "
            "itself as the backbone."
        )
    parent_name, _, name = names[-1].rpartition(".")
    parent = model.get_submodule(parent_name)
    setattr(parent, name, nn.Identity())
    siblings = list(parent.named_children()) if isinstance(parent, nn.Sequential) else []
    for (before, module), (after, _) in pairwise(siblings):
        # Dropout is there for the classifier; on features that are compared by distance it is noise.
        if after == name and isinstance(module, nn.Dropout):
            setattr(parent, before, nn.Identity())


def _try_out(network: nn.Module, model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Pass two images through, so that a model made for other images is refused here and by name."""
    name = type(model).__name__
    if getattr(model, "aux_logits", False):
        raise ValueError(f"{name} returns auxiliary outputs in training. Build it with aux_logits=False.")
    network.eval()
    try:
        with torch.no_grad():
            features = network(torch.zeros(2, *input_shape))
    except (RuntimeError, AssertionError) as error:  # torchvision's own checks raise either
        raise ValueError(f"{name} does not take images of shape {tuple(input_shape)}: {error}") from error
    network.train()
    if features.ndim != 2:
        raise ValueError(
            f"torchvision_backbone needs a model whose features are of shape (b, d). {name} returns shape "
            f"{tuple(features.shape)} for two images."
        )


class _RepeatChannel(nn.Module):
    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, self.times, -1, -1)


class _WideBlock(nn.Module):
    """Norm and activation before each of two convolutions; the first block's shortcut is activated as well."""

    def __init__(self, width: int, wider: int, stride: int = 1, activate_shortcut: bool = False) -> None:
        super().__init__()
        self.activate_shortcut = activate_shortcut
        self.activate = nn.Sequential(nn.BatchNorm2d(width), nn.LeakyReLU(0.1, inplace=True))
        self.residual = nn.Sequential(
            conv(width, wider, stride),
            nn.BatchNorm2d(wider),
            nn.LeakyReLU(0.1, inplace=True),
            conv(wider, wider),
        )
        self.shortcut = None if width == wider else nn.Conv2d(width, wider, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.activate(x)
        shortcut = activated if self.activate_shortcut else x
        if self.shortcut is not None:
            shortcut = self.shortcut(shortcut)
        return shortcut + self.residual(activated)
