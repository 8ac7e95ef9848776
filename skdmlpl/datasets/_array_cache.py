"""Folders of arrays that are written once and memory-mapped from then on."""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import numpy as np

__all__ = ["cache_folder", "image_file"]

logger = logging.getLogger(__name__)


def cache_folder(
    cache_dir: Path, name: str, sources: Iterable[str], n_bytes: int, write: Callable[[Path], None]
) -> Path:
    """Return the folder that holds what ``write`` made of ``sources``; call it where there is none yet.

    The folder appears under its name when it is complete, so that an interrupted or a concurrent call leaves no half
    of it behind. Its name ends with a hash of ``sources``: other files do not find the arrays of these.

    Parameters
    ----------
    cache_dir : Path
        Where the folder is; made if needed.
    name : str
        Beginning of the folder's name.
    sources : iterable of str
        What the arrays depend on.
    n_bytes : int
        About how much will be written.
    write : callable
        Writes all files into the folder that it is given.

    Raises
    ------
    OSError
        If there is too little space, or the folder cannot be made.
    """
    digest = hashlib.sha256(os.fsencode("\n".join(sources))).hexdigest()[:12]
    folder = cache_dir / f"{name}-{digest}"
    if folder.is_dir():
        return folder
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        scratch = TemporaryDirectory(dir=cache_dir, prefix=f"unfinished-{name}-")
    except OSError as error:
        raise OSError(f"Nothing can be written to {cache_dir.absolute()}. Name another folder as cache_dir.") from error
    with scratch:
        free = shutil.disk_usage(cache_dir).free
        if free < n_bytes:
            raise OSError(
                f"{cache_dir.absolute()} has {free / 1e9:.1f} GB free, but the images take {n_bytes / 1e9:.1f} GB. "
                "Name another folder as cache_dir, or choose a smaller size."
            )
        logger.info("Writing %.1f GB of images to %s", n_bytes / 1e9, folder)
        unfinished = Path(scratch.name) / name
        unfinished.mkdir()
        write(unfinished)
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


@contextmanager
def image_file(path: Path, size: int) -> Iterator[Callable[[np.ndarray], None]]:
    """Open a ``.npy`` file of images; yields a function that appends a block of them, (b, 3, size, size) uint8."""
    n_images = 0
    with path.open("wb") as file:
        # The number of images is known in the end only. numpy pads the header so that the first axis can grow.
        _write_header(file, n_images, size)

        def append(images: np.ndarray) -> None:
            nonlocal n_images
            file.write(np.ascontiguousarray(images).data)
            n_images += len(images)
            logger.info("%s: %d images", path.name, n_images)

        yield append
        file.seek(0)
        _write_header(file, n_images, size)


def _write_header(file: BinaryIO, n_images: int, size: int) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (n_images, 3, size, size)}
    np.lib.format.write_array_header_1_0(file, header)
