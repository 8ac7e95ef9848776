"""The network for small images; public as :func:`skdmlpl.backbones.small_convnet`."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdmlpl._image_layers import Normalize, NormalizedImages, check_image_shape, conv

__all__ = ["small_convnet"]


def small_convnet(input_shape: tuple[int, ...]) -> nn.Module:
    """Build a small convolutional network for images up to 64 pixels, made to be trained on a CPU.

    After [1]_, which asks for accuracy per computation: a first layer of fixed filters that whiten patches of 2 x 2
    pixels, three blocks of two 3 x 3 convolutions of 32, 128 and 128 channels, each block at half the resolution of the
    one before, and the maximum over all positions. About 0.5 million parameters. The filters are learned from the
    images' statistics by ``adapt``, so the layers behind them start from decorrelated input.

    Parameters
    ----------
    input_shape : tuple of int, (channels, height, width)
        Shape of one image: any number of channels, sides of any length.

    Returns
    -------
    nn.Module
        Maps images (b, channels, height, width), float, to features (b, 128). Its method ``adapt(batches)`` learns the
        mean and standard deviation of each channel, by which images are then normalised, and the whitening filters;
        without it images are used as they are, and filters are random.

    Raises
    ------
    ValueError
        If ``input_shape`` is not the shape of an image.

    References
    ----------
    .. [1] Jordan (2024). "94% on CIFAR-10 in 3.29 seconds on a single GPU". :arxiv:`2404.00498`.

    Examples
    --------
    >>> import torch
    >>> from skdmlpl.backbones import small_convnet
    >>> network = small_convnet((3, 32, 32))
    >>> network(torch.rand(8, 3, 32, 32)).shape
    torch.Size([8, 128])
    """
    channels, height, width = check_image_shape(input_shape, "small_convnet")
    whitening = _Whitening(channels, min(2, height, width))
    layers: list[nn.Module] = [whitening, nn.GELU()]
    width = whitening.n_filters
    for wider in (32, 128, 128):
        layers += [conv(width, wider), _Halve(), nn.BatchNorm2d(wider), nn.GELU()]
        layers += [conv(wider, wider), nn.BatchNorm2d(wider), nn.GELU()]
        width = wider
    return _WhitenedImages(channels, nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten()))


class _WhitenedImages(NormalizedImages):
    """A network whose first layer learns from the images too."""

    def adapt(self, batches: Iterable[Tensor]) -> None:
        """Learn mean and standard deviation of each channel, and the whitening filters, from all batches."""
        patches = _PatchMoments(self.network[0].side)
        super().adapt(map(patches.add, batches))
        self.network[0].learn(patches, self.normalize)


class _PatchMoments:
    """Sums over the patches of images on their way to somewhere else."""

    #: One image of so many is looked at. Neighbouring patches say the same again, and so do most images.
    _EVERY = 8

    def __init__(self, side: int) -> None:
        self.side = side
        self.count = 0
        self.total: Tensor | float = 0.0  # (n,), n = channels * side * side
        self.products: Tensor | float = 0.0  # (n, n)

    def add(self, batch: Tensor) -> Tensor:
        patches = F.unfold(batch[:: self._EVERY].float(), self.side)  # (b, n, n_patches)
        patches = patches.transpose(1, 2).flatten(0, 1).to("cpu", torch.float64)
        self.count += len(patches)
        self.total = self.total + patches.sum(0)
        self.products = self.products + patches.T @ patches
        return batch


class _Whitening(nn.Module):
    """Fixed filters along the principal directions of small patches, each scaled to unit variance, with both signs."""

    #: Directions that are kept where an image has many channels: those of most variance.
    _MOST = 32
    #: Added to the variances: directions that hardly vary are noise, and stay small.
    _RIDGE = 5e-4

    filters: Tensor

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.side = side
        n = channels * side * side
        self.n_filters = 2 * min(n, self._MOST)
        filters = torch.randn(self.n_filters // 2, channels, side, side) / n**0.5
        self.register_buffer("filters", torch.cat([filters, -filters]))

    @torch.no_grad()
    def learn(self, patches: "_PatchMoments", normalize: Normalize) -> None:
        per_entry = [
            value.double().cpu().flatten().repeat_interleave(self.side**2) for value in (normalize.mean, normalize.std)
        ]
        mean, std = per_entry  # (n,), of the entries of a patch
        shifted = patches.products - torch.outer(mean, patches.total) - torch.outer(patches.total, mean)
        covariance = (shifted / patches.count + torch.outer(mean, mean)) / torch.outer(std, std)
        variances, directions = torch.linalg.eigh(covariance)  # ascending, in columns
        # The sign of an eigenvector is arbitrary: without a rule, rounding would decide.
        largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
        scaled = directions * largest.sign() / (variances.clamp_min(0) + self._RIDGE).sqrt()
        filters = scaled.T.flip(0)[: self.n_filters // 2].reshape(-1, *self.filters.shape[1:])
        self.filters.copy_(torch.cat([filters, -filters]))

    def forward(self, images: Tensor) -> Tensor:
        # No bias: learning one would send gradients back through the largest layers, 9 % of the time.
        return F.conv2d(images, self.filters)


class _Halve(nn.Module):
    """The maximum of every 2 x 2 positions, as long as there are as many."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if min(x.shape[-2:]) >= 2 else x
