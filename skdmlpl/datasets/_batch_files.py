"""Pickled batches of images, the form in which CIFAR and the downsampled ImageNet are distributed."""

import codecs
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np

__all__ = ["check_files", "read_batch"]

# A pickle can name any function to be called. These are all that arrays, numbers and lists need; numpy's are taken from
# its own pickles, as the modules they live in are private and moved with numpy 2.
_NUMPY_FUNCTIONS = {
    "multiarray": (np.empty(0).__reduce__()[0], np.int64(0).__reduce__()[0]),
    "numeric": (np.empty(0).__reduce_ex__(5)[0],),
}
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,  # bytes, in pickles that Python 2 can read
    **{
        (f"numpy.{core}.{module}", function.__name__): function
        for module, functions in _NUMPY_FUNCTIONS.items()
        for function in functions
        for core in ("core", "_core")
    },
}


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles numbers, strings, arrays and containers of them, and calls nothing else."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which images and labels have no need of")
        return _ALLOWED[module, name]


def check_files(folder: Path, names: Sequence[str], remedy: str) -> None:
    """Raise an error that lists the missing files, where they are looked for and how to get them."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} files are missing in {folder.absolute()}: {', '.join(missing)}. {remedy}"
        )


def read_batch(path: Path, *, size: int, labels: range, label_key: str = "labels") -> tuple[np.ndarray, np.ndarray]:
    """Read the images of a batch file, (n, 3, size, size) uint8, and their labels, (n,) int64.

    Raises
    ------
    ValueError
        If the file holds something else, such as images of another size or labels outside ``labels``.
    """
    try:
        with path.open("rb") as file:
            # Python 2 wrote CIFAR's files: their strings are bytes to Python 3, which have to be kept as they are.
            batch = _ArrayUnpickler(file, encoding="latin1").load()
        return _images_and_labels(batch, size, labels, label_key)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # unpickling a damaged file may end in almost any of them
        raise ValueError(f"{path.absolute()} cannot be read as a batch of {size} x {size} images: {error}.") from error


def _images_and_labels(batch: object, size: int, allowed: range, label_key: str) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(batch, dict) or not batch.keys() >= {"data", label_key}:
        raise ValueError(f"it must hold a dict with 'data' and {label_key!r}")
    data, labels = batch["data"], np.asarray(batch[label_key])
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2:
        raise ValueError("'data' must be an array of dtype uint8, one row an image")
    if data.shape[1] != 3 * size * size:
        raise ValueError(f"'data' must have rows of {3 * size * size} values, but has rows of {data.shape[1]}")
    if labels.shape != (len(data),) or labels.dtype.kind not in "iu":
        raise ValueError(f"{label_key!r} must hold one integer for each of the {len(data)} images")
    if not np.isin(labels, allowed).all():
        raise ValueError(f"{label_key!r} must be from {allowed[0]} to {allowed[-1]}")
    return data.reshape(-1, 3, size, size), labels.astype(np.int64)
