import math
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone

from skdmlpl.augmentations import FeatureCorruption, StrongImageAugmentation, WeakImageAugmentation

ONLY_GEOMETRY = {"brightness": 0, "contrast": 0, "saturation": 0, "cutout": 0}
ONLY_COLOR = {"shift": 0, "flip": False, "rotation": 0, "shear": 0, "zoom": 0, "cutout": 0}
STILL = {**ONLY_COLOR, **ONLY_GEOMETRY}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(*shape):
    return torch.rand(shape, generator=generator(99))


AUGMENTATIONS = [
    (WeakImageAugmentation(), images(6, 3, 16, 12)),
    (StrongImageAugmentation(), images(6, 3, 16, 12)),
    (FeatureCorruption(), images(6, 5)),
]


@pytest.mark.parametrize(("augment", "batch"), AUGMENTATIONS)
class TestContract:
    def test_draws_from_the_generator_alone(self, augment, batch):
        before = torch.get_rng_state()
        first, again, other = (augment(batch, generator(seed)) for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(before, torch.get_rng_state())

    def test_leaves_the_input(self, augment, batch):
        copy = batch.clone()
        out = augment(batch, generator())
        assert torch.equal(batch, copy)
        assert (out.shape, out.dtype, out.device) == (batch.shape, batch.dtype, batch.device)
        assert out.data_ptr() != batch.data_ptr()
        assert not out.requires_grad

    def test_float64(self, augment, batch):
        assert torch.allclose(augment(batch.double(), generator()), augment(batch, generator()).double(), atol=1e-4)

    def test_scale_and_offset_pass_through(self, augment, batch):
        out = augment(255 * batch - 100, generator())
        assert torch.allclose(out, 255 * augment(batch, generator()) - 100, atol=1e-2)

    def test_clones_and_pickles(self, augment, batch):
        expected = augment(batch, generator())
        for copy in (clone(augment), pickle.loads(pickle.dumps(augment))):
            assert repr(copy) == repr(augment)
            assert torch.equal(copy(batch, generator()), expected)

    def test_empty_batch(self, augment, batch):
        assert augment(batch[:0], generator()).shape == batch[:0].shape


@pytest.mark.parametrize("shape", [(40, 3, 16, 12), (40, 1, 9, 9), (5, 2, 1, 1), (5, 1, 4, 2)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_weak_against_crops_of_padded_images(shape, memory_format):
    batch = images(*shape).contiguous(memory_format=memory_format)
    h, w = shape[2:]
    pad_h, pad_w = int(0.3 * h), int(0.3 * w)
    padded = F.pad(batch, (pad_w, pad_w, pad_h, pad_h), mode="reflect")
    draws = torch.rand(3, len(batch), generator=generator(5))
    expected = []
    for image, (down, right, mirror) in zip(padded, draws.T.tolist(), strict=True):
        top, left = int(down * (2 * pad_h + 1)), int(right * (2 * pad_w + 1))
        if mirror < 0.5:
            # Shifted first and mirrored then, which is mirrored first and shifted the other way.
            image, left = image.flip(2), 2 * pad_w - left
        expected.append(image[:, top : top + h, left : left + w])
    assert torch.equal(WeakImageAugmentation(shift=0.3)(batch, generator(5)), torch.stack(expected))


def test_weak_shifts_are_uniform_and_flips_half():
    position = torch.zeros(20_000, 1, 1, 17)
    position[..., 8] = 1
    position[..., 9] = 2  # right of the 1 unless mirrored
    out = WeakImageAugmentation(shift=0.125)(position, generator())[:, 0, 0]
    place, right = (out == 1).float().argmax(1), (out == 2).float().argmax(1)
    assert (right > place).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert np.bincount(place)[6:11] / 20_000 == pytest.approx(0.2, abs=0.02)
    assert torch.equal(WeakImageAugmentation(shift=0, flip=False)(position, generator()), position)


def test_a_draw_rounded_up_stays_inside(monkeypatch):
    batch = images(2, 1, 2, 2)
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.full(size, 1 - 2**-24))
    assert WeakImageAugmentation(shift=0.5)(batch, generator()).isfinite().all()


@pytest.mark.parametrize("shape", [(6, 3, 16, 16), (6, 1, 9, 14)])
def test_strong_geometry_against_each_image_alone(shape):
    batch = images(*shape)
    h, w = shape[2:]
    draws = torch.rand(12, len(batch), generator=generator(3)).double().T.tolist()
    out = StrongImageAugmentation(**ONLY_GEOMETRY)(batch, generator(3))
    for image, moved, (right, down, angle, shear, size, mirror, *_) in zip(batch, out, draws, strict=True):
        # In pixels from the centre: shear, turn, shrink, mirror, shift; then to coordinates from -1 to 1.
        angle = math.radians(15 * (2 * angle - 1))
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        slide = np.array([[1, 0.2 * (2 * shear - 1) * w / h], [0, 1]])
        matrix = np.diag([-1 if mirror < 0.5 else 1, 1]) @ turn @ slide / (1 + 0.2 * (2 * size - 1))
        to_pixels = np.diag([w / 2, h / 2])
        theta = np.zeros((1, 2, 3))
        theta[0, :, :2] = np.linalg.inv(to_pixels) @ matrix @ to_pixels
        theta[0, :, 2] = 2 * 0.125 * (2 * right - 1), 2 * 0.125 * (2 * down - 1)
        grid = F.affine_grid(torch.tensor(theta, dtype=torch.float32), [1, *image.shape], align_corners=False)
        expected = F.grid_sample(image[None], grid, padding_mode="reflection", align_corners=False)[0]
        assert torch.allclose(moved, expected, atol=1e-4)


def test_strong_turns_a_square_image_by_90_degrees():
    batch = images(1, 2, 8, 8)
    turned = StrongImageAugmentation(**{**STILL, "rotation": 90})
    draws = torch.full((6, 1), 0.5)
    draws[2] = 1.0
    assert torch.allclose(turned._move(batch, draws), torch.rot90(batch, 1, (2, 3)), atol=1e-5)


def test_strong_color_against_one_change_after_the_other():
    batch = images(5, 3, 8, 6)
    draws = torch.rand(12, 5, generator=generator(7)).T.tolist()
    out = StrongImageAugmentation(**ONLY_COLOR, brightness=0.4, contrast=0.6, saturation=0.8)(batch, generator(7))
    for image, changed, draw in zip(batch, out, draws, strict=True):
        brightness, contrast, saturation = (2 * u - 1 for u in draw[6:9])
        grey = image.mean(0, keepdim=True)
        expected = grey + (1 + 0.8 * saturation) * (image - grey)
        expected = expected.mean() + (1 + 0.6 * contrast) * (expected - expected.mean())
        expected = expected + 0.4 * brightness * image.std(correction=0)
        assert torch.allclose(changed, expected, atol=1e-5)


def test_strong_cutout_is_a_square_of_the_mean_color():
    batch = images(300, 3, 12, 16)
    out = StrongImageAugmentation(**{**STILL, "cutout": 0.5})(batch, generator())
    changed = ((out - batch).abs() > 1e-4).any(1)
    assert 0.01 < changed.float().mean() < 0.125
    for before, after, mask in zip(batch, out, changed, strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        if len(rows) == 0:
            continue
        assert len(rows) <= 6 and len(columns) <= 6
        block = after[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert mask.sum() == len(rows) * len(columns) == block[0].numel()
        assert torch.allclose(block, before.mean((1, 2))[:, None, None].expand_as(block), atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (3, 5, 1, 1), (2, 3, 4, 9)])
def test_strong_takes_any_size(shape):
    out = StrongImageAugmentation()(images(*shape), generator())
    assert out.shape == shape and out.isfinite().all()


def test_strong_with_all_turned_off_is_the_identity():
    batch = images(3, 3, 8, 8)
    assert torch.allclose(StrongImageAugmentation(**STILL)(batch, generator()), batch, atol=1e-5)


def test_one_parameter_leaves_the_draws_of_the_others():
    batch = images(4, 3, 8, 8)
    with_cutout = StrongImageAugmentation(cutout=0.2)(batch, generator())
    without = StrongImageAugmentation(cutout=0)(batch, generator())
    assert (with_cutout == without).float().mean() > 0.9


class TestFeatureCorruption:
    rows = torch.arange(400.0)[:, None] * 10 + torch.arange(8.0)  # every entry tells its row and column

    def test_entries_come_from_other_rows_of_their_column(self):
        out = FeatureCorruption(rate=1)(self.rows, generator())
        assert torch.equal(out % 10, self.rows % 10)
        assert (out != self.rows).all()

    def test_rate(self):
        out = FeatureCorruption(rate=0.3)(self.rows, generator())
        assert (out != self.rows).float().mean().item() == pytest.approx(0.3, abs=0.03)
        assert torch.equal(FeatureCorruption(rate=0)(self.rows, generator()), self.rows)

    def test_columns_are_drawn_alone_and_evenly(self):
        batch = torch.arange(5.0)[:, None].repeat(1, 4000)
        out = FeatureCorruption(rate=1)(batch, generator())
        assert (out[:, 0] != out[:, 1]).any()
        for row in range(5):
            shares = np.bincount(out[row].long(), minlength=5) / 4000
            assert shares == pytest.approx([0 if other == row else 0.25 for other in range(5)], abs=0.03)

    def test_one_row_comes_back(self):
        out = FeatureCorruption(rate=1)(self.rows[:1], generator())
        assert torch.equal(out, self.rows[:1])
        assert out.data_ptr() != self.rows.data_ptr()


@pytest.mark.parametrize(
    ("augment", "name", "wanted"),
    [
        (WeakImageAugmentation(shift=0.6), "shift", "a float in the range [0.0, 0.5]"),
        (WeakImageAugmentation(flip="no"), "flip", "a bool"),
        (StrongImageAugmentation(rotation=-1), "rotation", "a float in the range [0.0, 180.0]"),
        (StrongImageAugmentation(zoom=1), "zoom", "a float in the range [0.0, 1.0)"),
        (StrongImageAugmentation(brightness=math.inf), "brightness", "a float in the range [0.0, inf)"),
        (StrongImageAugmentation(cutout=None), "cutout", "a float in the range [0.0, 1.0]"),
        (FeatureCorruption(rate=math.nan), "rate", "a float in the range [0.0, 1.0]"),
        (FeatureCorruption(rate=True), "rate", "a float in the range [0.0, 1.0]"),
    ],
)
def test_refuses_parameters_at_call(augment, name, wanted):
    batch = images(4, 3) if isinstance(augment, FeatureCorruption) else images(4, 3, 8, 8)
    with pytest.raises(ValueError) as error:
        augment(batch, generator())
    expected = f"The '{name}' parameter of {type(augment).__name__} must be {wanted}. Got {getattr(augment, name)!r} "
    assert str(error.value) == expected + "instead."


def test_accepts_numpy_parameters():
    WeakImageAugmentation(shift=np.float64(0.1), flip=np.bool_(True))(images(2, 1, 8, 8), generator())
    FeatureCorruption(rate=np.float32(0.5))(images(4, 3), generator())


def test_refuses_batches_of_another_kind():
    with pytest.raises(
        ValueError, match=r"WeakImageAugmentation needs a floating-point batch of shape .* Got torch.uint8"
    ):
        WeakImageAugmentation()(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), generator())
    with pytest.raises(ValueError, match=r"StrongImageAugmentation needs .* shape \(4, 3\) instead"):
        StrongImageAugmentation()(images(4, 3), generator())
    with pytest.raises(ValueError, match=r"FeatureCorruption needs .* \(2, 1, 8, 8\) instead"):
        FeatureCorruption()(images(2, 1, 8, 8), generator())
