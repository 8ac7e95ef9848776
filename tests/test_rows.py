"""Rows against the concatenation of its parts."""

import numpy as np
import pytest
import torch

from skdmlpl import _rows
from skdmlpl._rows import Rows


def parts_of(lengths, shape=(3,), dtype=np.float64):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 200, (n, *shape)).astype(dtype) for n in lengths]


@pytest.mark.parametrize("lengths", [(5, 4), (5,), (2, 3, 4), (0, 6), (6, 0)], ids=str)
@pytest.mark.parametrize(
    "index",
    [
        slice(None),
        slice(3, 6),
        slice(None, None, -2),
        slice(-2, None),
        np.array([4, 5, 0, 4, 4, 1]),
        np.array([], dtype=int),
    ],
    ids=str,
)
def test_index_agrees_with_concatenation(lengths, index):
    parts = parts_of(lengths)
    rows, expected = Rows(*parts), np.concatenate(parts)
    if not isinstance(index, slice):
        index = index % len(rows)
    assert len(rows) == len(expected)
    assert rows.row_shape == (3,)
    np.testing.assert_array_equal(rows[index].numpy(), expected[index])


@pytest.mark.parametrize("row_bytes", [3, 300])
def test_labeled_batches_are_the_labelled_rows_and_their_labels(monkeypatch, row_bytes):
    monkeypatch.setattr(_rows, "_BATCH_BYTES", 10 * row_bytes)
    parts, y = parts_of((50, 60)), np.random.default_rng(0).integers(-1, 3, 110)
    batches = list(Rows(*parts).labeled_batches(y))
    assert len(batches) > 1 or row_bytes == 300
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in batches]), np.concatenate(parts)[y >= 0])
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), y[y >= 0])


@pytest.mark.parametrize("size", [None, 1, 4, 100])
def test_batches_are_all_rows_in_order_whatever_part_they_came_in(size):
    parts = parts_of((5, 6))
    batches, joined = list(Rows(*parts).batches(size)), list(Rows(np.concatenate(parts)).batches(size))
    assert [len(batch) for batch in batches] == [len(batch) for batch in joined]
    assert all(len(batch) == (size or 11) for batch in batches[:-1])
    np.testing.assert_array_equal(torch.cat(batches).numpy(), np.concatenate(parts))


def test_batches_are_larger_where_no_processor_caches_them():
    images = np.zeros((60, 3, 224, 224), dtype=np.uint8)
    assert [len(batch) for batch in Rows(images).batches()] == [3] * 20
    assert [len(batch) for batch in Rows(images, device="meta").batches()] == [55, 5]


def test_batches_of_some_rows_in_any_order():
    parts = parts_of((5, 6))
    index = np.array([7, 0, 4, 5, 10])
    batches = list(Rows(*parts).batches(2, index))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    np.testing.assert_array_equal(torch.cat(batches).numpy(), np.concatenate(parts)[index])
    assert list(Rows(*parts).batches(2, index[:0])) == []


def test_batches_of_unstated_size_are_bounded_in_bytes():
    rows = Rows(np.broadcast_to(np.float32(1), (100, 3, 256, 256)))  # 157 MB as float64
    assert max(len(batch) for batch in rows.batches()) < 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("source", ["f8", "f4", "f2", "i8", "u8", "u4", "u2", "u1", "i1", "?", ">f8", ">i4", "g"])
def test_dtype_is_converted_by_batch(source, dtype):
    (part,) = parts_of((4,), dtype=source)
    batch = Rows(part, dtype=dtype)[np.arange(4)]
    assert batch.dtype == dtype
    np.testing.assert_array_equal(batch.numpy(), part.astype(np.float64))


@pytest.mark.parametrize(
    ("shape", "dtype", "divisor"), [((1, 2, 2), "u1", 255), ((1, 2, 2), "f4", 1), ((1, 2, 2), "i2", 1), ((4,), "u1", 1)]
)
def test_only_uint8_images_are_scaled(shape, dtype, divisor):
    parts = parts_of((3, 2), shape, dtype)
    rows = Rows(*parts)
    expected = np.concatenate(parts).astype(np.float32) / np.float32(divisor)
    np.testing.assert_array_equal(rows[np.arange(5)].numpy(), expected)
    np.testing.assert_array_equal(torch.cat(list(rows.batches(2))).numpy(), expected)


def test_parts_are_the_callers_own_memory_and_batches_are_not(tmp_path):
    mapped = np.memmap(tmp_path / "rows", dtype=np.float32, mode="w+", shape=(4, 3))
    mapped[:] = 7
    read_only = np.ones((2, 3), dtype=np.float32)
    read_only.flags.writeable = False
    rows = Rows(mapped, read_only)
    assert np.shares_memory(rows.parts[0], mapped)
    assert np.shares_memory(rows.parts[1], read_only)
    for batch in (rows[np.arange(6)], rows[slice(None)], *rows.batches()):
        batch.zero_()
    assert (mapped == 7).all()
    assert (read_only == 1).all()


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[:, ::-1], np.s_[::2, 1:]], ids=str)
def test_views_need_no_contiguous_memory(view):
    (part,) = parts_of((6,))
    part = np.asfortranarray(part)[view]
    np.testing.assert_array_equal(torch.cat(list(Rows(part).batches(2))).numpy(), part)


def test_batches_are_bounded_in_rows_and_in_bytes():
    narrow = [len(batch) for batch in Rows(np.zeros((10_000, 1))).batches()]
    assert max(narrow) <= 4096
    assert sum(narrow) == 10_000
    wide = Rows(np.zeros((300, 3, 64, 64), dtype=np.uint8))
    assert max(8 * batch.numel() for batch in wide.batches()) <= 16 * 2**20
