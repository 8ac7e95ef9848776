"""The training rows, read batch by batch from the caller's own arrays."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

__all__ = ["Rows"]

# What is read in one go where rows are only looked at: enough to hide Python's cost, and no more than stays in the
# processor's cache. With 16 MB the default networks took a fifth longer for wide rows and for images than with 4 MB.
# Networks make far more of a narrow row than its own bytes, so the number of rows has a limit too. With 2,048 rows the
# C library may hand the memory of each batch back to the system and get it anew, page by page: that took up to a
# quarter longer, from 16 to 256 columns, while 512 and 1,024 rows differed by a few percent either way.
_BATCH_BYTES = 4 * 2**20
# Other devices have no use for so small a cache, but for enough work at a time.
_DEVICE_BATCH_BYTES = 64 * 2**20
_BATCH_ROWS = 512


class Rows:
    """``X`` followed by ``X_unlabeled``, indexed as one, without a copy of either.

    A batch is gathered from the caller's arrays (which may be memory-mapped), converted and moved to the device; images
    of dtype uint8 are scaled to [0, 1] on the way.

    Parameters
    ----------
    *parts : ndarray of shape (n_rows, ...)
        Arrays of equal row shape. They are only read.
    dtype : torch.dtype, default=torch.float32
        Floating dtype of the batches.
    device : torch.device or str, default="cpu"
        Where batches are put.
    """

    def __init__(
        self, *parts: np.ndarray, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> None:
        self.parts = [part for part in parts if len(part)]
        self.dtype = dtype
        self.device = torch.device(device)
        self._offsets = np.cumsum([0, *(len(part) for part in self.parts)])

    def __len__(self) -> int:
        return int(self._offsets[-1])

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.parts[0].shape[1:]

    def __getitem__(self, index: np.ndarray | slice) -> Tensor:
        """Return the rows of ``index`` (b,) as a floating tensor (b, *row_shape) of its own memory."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._read(start, stop)
            index = np.arange(start, stop, step)
        return self._convert(self._gather(index), shared=False)

    def batches(self, size: int | None = None, index: np.ndarray | None = None) -> Iterator[Tensor]:
        """Yield all rows, or those of ``index`` (n,), in order, ``size`` at a time."""
        if size is None:
            row_bytes = 8 * int(np.prod(self.row_shape))
            most_bytes = _BATCH_BYTES if self.device.type == "cpu" else _DEVICE_BATCH_BYTES
            size = min(_BATCH_ROWS, max(1, most_bytes // row_bytes))
        # Across the border between the parts: the batches do not depend on which part a row came in.
        for start in range(0, len(self) if index is None else len(index), size):
            here = slice(start, start + size)
            yield self[here if index is None else index[here]]

    def labeled_batches(self, y: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the rows that have a label in ``y`` (n_samples,), class indices or -1, in order, and these labels."""
        index = np.flatnonzero(y >= 0)
        start = 0
        for batch in self.batches(index=index):
            here = index[start : start + len(batch)]
            yield batch, torch.from_numpy(y[here]).to(self.device)
            start += len(batch)

    def _gather(self, index: np.ndarray) -> np.ndarray:
        gathered = np.empty((len(index), *self.row_shape), dtype=np.result_type(*self.parts))
        for part, start, stop in zip(self.parts, self._offsets[:-1], self._offsets[1:], strict=True):
            here = (index >= start) & (index < stop)
            gathered[here] = part[index[here] - start]
        return gathered

    def _read(self, start: int, stop: int) -> Tensor:
        """Return successive rows, which need no gathering."""
        pieces = [
            part[max(0, start - offset) : max(0, stop - offset)]
            for part, offset in zip(self.parts, self._offsets[:-1], strict=True)
        ]
        pieces = [piece for piece in pieces if len(piece)] or pieces[:1]
        dtype = np.result_type(*self.parts)
        if len(pieces) == 1:
            return self._convert(pieces[0].astype(dtype, copy=False), shared=True)
        return self._convert(np.concatenate(pieces, dtype=dtype), shared=False)

    def _convert(self, gathered: np.ndarray, *, shared: bool) -> Tensor:
        """Return an array as a tensor; ``shared`` memory is the caller's, and copied: networks may write to inputs."""
        image = gathered.dtype == np.uint8 and gathered.ndim == 4
        if gathered.dtype == np.longdouble:
            gathered = gathered.astype(np.float64)
        elif not gathered.dtype.isnative:
            gathered = gathered.astype(gathered.dtype.newbyteorder("="))
        # torch takes arrays that it could write to, and no negative strides.
        gathered = np.require(gathered, requirements=["C", "W"])
        batch = torch.from_numpy(gathered).to(self.device, self.dtype, copy=shared)
        return batch.div_(255) if image else batch
