"""Random changes of a batch that keep its meaning.

All are callables ``(batch, generator) -> batch``, see :class:`skdmlpl.interfaces.Augmentation`: every row is altered on
its own, every random number comes from ``generator``, and the batch given is left as it is. None of them assumes a
range of values: pixels may lie in [0, 1], in [0, 255] or be standardised, because borders are filled by reflection and
colours change in proportion to the image's own mean and standard deviation (so nothing is clipped either).
"""

import math

import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator
from torch import Tensor

from skdmlpl._validation import check_bool, check_number

__all__ = ["FeatureCorruption", "StrongImageAugmentation", "WeakImageAugmentation"]


class WeakImageAugmentation(BaseEstimator):
    """Shift each image by a few whole pixels and mirror half of them.

    Parameters
    ----------
    shift : float in [0, 0.5], default=0.125
        Largest shift in either direction, as a share of the image's height and width: 4 pixels of 32. What moves in
        from outside is the image's reflection.
    flip : bool, default=True
        Whether to mirror left and right with probability 1/2. Not for digits, letters or other images that mean
        something else in a mirror.

    Examples
    --------
    >>> import torch
    >>> from skdmlpl.augmentations import WeakImageAugmentation
    >>> augment = WeakImageAugmentation(flip=False)
    >>> images = torch.arange(2 * 3 * 8 * 8.0).reshape(2, 3, 8, 8)
    >>> augment(images, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(self, shift: float = 0.125, flip: bool = True) -> None:
        self.shift = shift
        self.flip = flip

    def __call__(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return shifted and mirrored images.

        Parameters
        ----------
        batch : Tensor of shape (b, channels, height, width)
            Images of a floating dtype.
        generator : torch.Generator
            Source of all random numbers.

        Returns
        -------
        Tensor of shape (b, channels, height, width)
            The altered copy.

        Raises
        ------
        ValueError
            If a parameter is out of its range or the batch does not hold images.
        """
        check_number(self, "shift", 0, 0.5)
        check_bool(self, "flip")
        _check_images(self, batch)
        b, c, h, w = batch.shape
        down, right, mirror = _uniform(3, b, generator, batch)

        columns = torch.arange(w, device=batch.device).expand(b, w)
        if self.flip:
            columns = torch.where(mirror[:, None] < 0.5, w - 1 - columns, columns)
        columns = _reflect(columns + _whole_shift(right, int(self.shift * w))[:, None], w)
        rows = torch.arange(h, device=batch.device)
        rows = _reflect(rows + _whole_shift(down, int(self.shift * h))[:, None], h)
        pixels = (rows[:, :, None] * w + columns[:, None, :]).reshape(b, 1, h * w)
        return batch.reshape(b, c, h * w).gather(2, pixels.expand(b, c, h * w)).reshape(b, c, h, w)


class StrongImageAugmentation(BaseEstimator):
    """Mirror, move, turn, shear and zoom each image, change its light and colour, and blank out a square.

    Geometry is one bilinear interpolation, so that images are blurred once and not once per change. Each amount is
    drawn uniformly between nothing and the parameter, in both directions; 0 turns a change off. Parameters are shares,
    not pixels or grey values, so one setting serves images of any size and range.

    Parameters
    ----------
    shift : float in [0, 0.5], default=0.125
        Largest shift, as a share of the image's height and width. What moves in from outside is the image's reflection.
    flip : bool, default=True
        Whether to mirror left and right with probability 1/2.
    rotation : float in [0, 180], default=15
        Largest angle, in degrees.
    shear : float in [0, 1], default=0.2
        Largest horizontal shear: how far the top and bottom edges slide, as a share of half the width.
    zoom : float in [0, 1), default=0.2
        Largest change of size, as a share of the size. The side ratio is kept.
    brightness : float >= 0, default=0.5
        Largest amount added to all pixels, in standard deviations of the image.
    contrast : float in [0, 1], default=0.5
        Largest relative change of the pixels' distances from the image's mean.
    saturation : float in [0, 1], default=0.5
        Largest relative change of the channels' distances from their mean in each pixel. No effect on one channel.
    cutout : float in [0, 1], default=0.5
        Largest side of the square that is filled with the image's mean colour, as a share of the shorter side. Its
        centre lies anywhere in the image, so it may hang over the border.

    Notes
    -----
    The changes are those of RandAugment [1]_ that can be written for images of unknown range, all applied at once, and
    Cutout [2]_.

    References
    ----------
    .. [1] Cubuk, Zoph, Shlens, Le (2020). "RandAugment: Practical automated data augmentation with a reduced search
       space". :arxiv:`1909.13719`.
    .. [2] DeVries, Taylor (2017). "Improved regularization of convolutional neural networks with Cutout".
       :arxiv:`1708.04552`.

    Examples
    --------
    >>> import torch
    >>> from skdmlpl.augmentations import StrongImageAugmentation
    >>> augment = StrongImageAugmentation(flip=False, cutout=0)
    >>> images = torch.rand(2, 3, 8, 8)
    >>> augment(images, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(
        self,
        shift: float = 0.125,
        flip: bool = True,
        rotation: float = 15.0,
        shear: float = 0.2,
        zoom: float = 0.2,
        brightness: float = 0.5,
        contrast: float = 0.5,
        saturation: float = 0.5,
        cutout: float = 0.5,
    ) -> None:
        self.shift = shift
        self.flip = flip
        self.rotation = rotation
        self.shear = shear
        self.zoom = zoom
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.cutout = cutout

    def __call__(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return altered images.

        Parameters
        ----------
        batch : Tensor of shape (b, channels, height, width)
            Images of a floating dtype.
        generator : torch.Generator
            Source of all random numbers.

        Returns
        -------
        Tensor of shape (b, channels, height, width)
            The altered copy.

        Raises
        ------
        ValueError
            If a parameter is out of its range or the batch does not hold images.
        """
        check_number(self, "shift", 0, 0.5)
        check_bool(self, "flip")
        check_number(self, "rotation", 0, 180)
        for name in ("shear", "contrast", "saturation", "cutout"):
            check_number(self, name, 0, 1)
        check_number(self, "zoom", 0, 1, without=1)
        check_number(self, "brightness", 0, math.inf)
        _check_images(self, batch)
        if len(batch) == 0:  # affine_grid refuses it
            return batch.clone()
        # A fixed number of draws per image, whatever is turned off: changing one parameter leaves the others' draws.
        draws = _uniform(12, len(batch), generator, batch)
        batch = self._move(batch, draws[:6])
        batch = self._recolor(batch, draws[6:9])
        return self._cut_out(batch, draws[9:])

    def _move(self, batch: Tensor, draws: Tensor) -> Tensor:
        h, w = batch.shape[2:]
        right, down, angle, shear, size = 2 * draws[:5] - 1
        mirror = torch.where(draws[5] < 0.5, -1.0, 1.0) if self.flip else 1.0
        angle = torch.deg2rad(self.rotation * angle)
        size = 1 / (1 + self.zoom * size)
        cos, sin, shear = size * torch.cos(angle), size * torch.sin(angle), self.shear * shear
        # From places in the new image to places in the old one, in coordinates from -1 to 1: rotation times shear,
        # then the mirror. Off the diagonal, h / w keeps the angles of images that are not square.
        theta = torch.stack(
            [
                torch.stack([mirror * cos, mirror * (shear * cos - sin * (h / w)), 2 * self.shift * right], 1),
                torch.stack([sin * (w / h), shear * sin * (w / h) + cos, 2 * self.shift * down], 1),
            ],
            1,
        )  # (b, 2, 3)
        grid = F.affine_grid(theta.to(batch.dtype), list(batch.shape), align_corners=False)
        return F.grid_sample(batch, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    def _recolor(self, batch: Tensor, draws: Tensor) -> Tensor:
        brightness, contrast, saturation = (2 * draws.to(batch.dtype) - 1)[:, :, None, None, None]
        contrast, saturation = self.contrast * contrast, self.saturation * saturation
        std, mean = torch.std_mean(batch, (1, 2, 3), correction=0, keepdim=True)  # (b, 1, 1, 1)
        offset = self.brightness * brightness * std - contrast * mean
        # Saturation, then contrast, then brightness: all linear in a pixel and its grey value, so two passes do it.
        grey = torch.addcmul(offset, batch.mean(1, keepdim=True), -(1 + contrast) * saturation)
        return torch.addcmul(grey, batch, (1 + contrast) * (1 + saturation))

    def _cut_out(self, batch: Tensor, draws: Tensor) -> Tensor:
        h, w = batch.shape[2:]
        row, column, half = draws[0] * h, draws[1] * w, draws[2] * self.cutout * min(h, w) / 2
        rows = (torch.arange(h, device=batch.device) + 0.5 - row[:, None]).abs() < half[:, None]  # (b, h)
        columns = (torch.arange(w, device=batch.device) + 0.5 - column[:, None]).abs() < half[:, None]
        square = rows[:, None, :, None] & columns[:, None, None, :]
        return torch.where(square, batch.mean((2, 3), keepdim=True), batch)


class FeatureCorruption(BaseEstimator):
    """Replace a random part of each row's features by those of other rows, column by column.

    A replaced entry is drawn from the column's own values in the batch, so it is plausible alone but not beside the
    row's other features: what is left of the row must be enough to recognise it. This is the corruption of SCARF [1]_,
    with the batch in the place of the training set.

    Parameters
    ----------
    rate : float in [0, 1], default=0.3
        Probability that an entry is replaced. Higher makes views differ more; SCARF found 0.6 to do well for rows whose
        features repeat one another, lower suits few or independent features.

    References
    ----------
    .. [1] Bahri, Jiang, Tay, Metzler (2022). "SCARF: Self-supervised contrastive learning using random feature
       corruption". :arxiv:`2106.15147`.

    Examples
    --------
    >>> import torch
    >>> from skdmlpl.augmentations import FeatureCorruption
    >>> rows = torch.arange(8.0).reshape(4, 2)
    >>> corrupted = FeatureCorruption(rate=0.5)(rows, torch.Generator().manual_seed(0))
    >>> bool((corrupted[:, 0] % 2 == 0).all() and (corrupted[:, 1] % 2 == 1).all())
    True
    """

    def __init__(self, rate: float = 0.3) -> None:
        self.rate = rate

    def __call__(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return rows with some entries replaced.

        Parameters
        ----------
        batch : Tensor of shape (b, n_features)
            Rows of any dtype. A batch of one row has nothing to draw from and comes back unchanged.
        generator : torch.Generator
            Source of all random numbers.

        Returns
        -------
        Tensor of shape (b, n_features)
            The altered copy.

        Raises
        ------
        ValueError
            If ``rate`` is out of its range or the batch is not a table.
        """
        check_number(self, "rate", 0, 1)
        if batch.ndim != 2:
            raise ValueError(
                f"{type(self).__name__} needs a batch of shape (b, n_features). Got shape {tuple(batch.shape)} instead."
            )
        b, n_features = batch.shape
        if b < 2:
            return batch.clone()
        device = generator.device
        replaced = torch.rand(b, n_features, generator=generator, device=device) < self.rate
        # A step of 1 .. b - 1 from the row itself, around the end: any other row, all equally likely.
        step = torch.randint(1, b, (b, n_features), generator=generator, device=device)
        other = (torch.arange(b, device=device)[:, None] + step) % b
        return torch.where(replaced.to(batch.device), batch.gather(0, other.to(batch.device)), batch)


def _uniform(n: int, b: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw (n, b) numbers in [0, 1) where the generator lives and move them to where the batch is."""
    return torch.rand(n, b, generator=generator, device=generator.device).to(like.device)


def _whole_shift(uniform: Tensor, most: int) -> Tensor:
    """Turn numbers in [0, 1) into whole ones from -most to most, all equally likely."""
    # The clamp is for a draw so near to 1 that the product is rounded up.
    return ((uniform * (2 * most + 1)).long() - most).clamp(max=most)


def _reflect(index: Tensor, size: int) -> Tensor:
    """Fold indices from -(size - 1) to 2 (size - 1) back into 0 .. size - 1, without repeating the border."""
    return (size - 1) - ((size - 1) - index.abs()).abs()


def _check_images(owner: BaseEstimator, batch: Tensor) -> None:
    if batch.ndim != 4 or not batch.is_floating_point():
        raise ValueError(
            f"{type(owner).__name__} needs a floating-point batch of shape (b, channels, height, width). "
            f"Got {batch.dtype} of shape {tuple(batch.shape)} instead."
        )
