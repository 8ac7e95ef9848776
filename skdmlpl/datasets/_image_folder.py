"""Images in files, one folder a class, as one memory-mapped array."""

import os
from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch, check_scalar
from sklearn.utils.parallel import Parallel, delayed

from skdmlpl.datasets._array_cache import cache_folder, image_file

__all__ = ["list_images", "load_image_folder", "write_images"]

# Images that are read before they are written: 154 MB at 224 x 224 pixels.
_BLOCK = 1024


def load_image_folder(
    root: str | os.PathLike,
    size: int,
    *,
    unlabeled: str | None = None,
    cache_dir: str | os.PathLike | None = None,
    n_jobs: int | None = None,
) -> Bunch:
    """Load images from a folder with one subfolder for each class, all at one size.

    Each image is turned upright where its file says how (EXIF, as of photos), and its largest central square is taken
    and scaled to `size` x `size` pixels, in RGB. The result is written to a file once, and memory-mapped by this and
    later calls: it can be larger than the memory.

    Parameters
    ----------
    root : str or path-like
        The folder. The names of its subfolders are the names of the classes; images may lie in further subfolders.
        All of torchvision's image formats are read: jpg, png, webp, tif and others. Hidden folders and files, whose
        names start with a dot, are left out.
    size : int
        Height and width of the images in the result, in pixels. The file takes ``3 * size ** 2`` bytes an image.
    unlabeled : str, default=None
        Name of the subfolder whose images have no label.
    cache_dir : str or path-like, default=None
        Folder for the file of all images, outside of `root`. None takes the folder that `root` lies in. Images that are
        added, removed, renamed or changed are noticed, and lead to another folder ``image-folder-...`` in there.
    n_jobs : int, default=None
        Number of threads that read images. None is 1 unless in a :func:`joblib.parallel_config` context, -1 all
        processors.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        X : memmap of shape (n_images, 3, size, size), uint8
            The images, in the order of `filenames`; read-only.
        y : ndarray of shape (n_images,), int64
            Index in `target_names` of each image's class, -1 for those of the folder `unlabeled`.
        target_names : ndarray of shape (n_classes,), str
            Names of the classes, sorted.
        filenames : ndarray of shape (n_images,), str
            Paths of the images relative to `root`.

    Raises
    ------
    FileNotFoundError
        If the folder, a class in it or an image in a class is missing.
    ValueError
        If a file cannot be read as an image; the message names it. If `cache_dir` lies in `root`.
    OSError
        If `cache_dir` cannot be written to or has too little space.

    See Also
    --------
    make_long_tailed_split : Draw a long-tailed part with labels and another without.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skdmlpl.datasets import load_image_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("photos/cat/1.png", "photos/dog/1.png", "photos/dog/2.png", "photos/unknown/1.png"):
    ...         path = Path(folder, name)
    ...         path.parent.mkdir(parents=True, exist_ok=True)
    ...         Image.new("RGB", (60, 40)).save(path)
    ...     data = load_image_folder(Path(folder, "photos"), size=32, unlabeled="unknown")
    >>> data.X.shape
    (4, 3, 32, 32)
    >>> data.y
    array([ 0,  1,  1, -1])
    >>> data.target_names
    array(['cat', 'dog'], dtype='<U3')
    """
    check_scalar(size, "size", Integral, min_val=1)
    root = Path(root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root.absolute()}.")
    cache_dir = root.absolute().parent if cache_dir is None else Path(cache_dir).expanduser()
    if cache_dir.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"cache_dir must not lie in root, whose folders are classes. Got {cache_dir} in {root}.")
    subfolders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    target_names = [name for name in subfolders if name != unlabeled]
    if not target_names or (unlabeled is not None and unlabeled not in subfolders):
        needed = "one folder for each class" + (f" and the folder {unlabeled!r}" if unlabeled is not None else "")
        raise FileNotFoundError(f"{root.absolute()} must hold {needed}. Got {subfolders} instead.")
    labels = {name: i for i, name in enumerate(target_names)}
    if unlabeled is not None:
        labels[unlabeled] = -1
    filenames, y = list_images(root, labels)

    folder = cache_folder(
        cache_dir,
        f"image-folder-{size}px",
        _describe(root, filenames),
        3 * size * size * len(filenames),
        lambda folder: write_images(folder / "images.npy", root, filenames, size, n_jobs),
    )
    return Bunch(
        X=np.load(folder / "images.npy", mmap_mode="r"),
        y=y,
        target_names=np.array(target_names),
        filenames=np.array(filenames),
    )


def _describe(root: Path, filenames: Sequence[str]) -> Iterator[str]:
    """Yield what tells these files from others of the same names, and from what they were before they were changed."""
    yield str(root.absolute())
    for name in filenames:
        status = (root / name).stat()
        yield f"{name} {status.st_size} {status.st_mtime_ns}"


def list_images(root: Path, labels: dict[str, int]) -> tuple[list[str], np.ndarray]:
    """Return the paths of all visible images, relative to ``root`` and sorted, and the labels of their subfolders."""
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    samples = make_dataset(str(root), labels, extensions=IMG_EXTENSIONS, allow_empty=True)
    named = [(os.path.relpath(path, root), label) for path, label in samples]
    # Hidden ones are what notebooks, version control and file managers leave behind.
    named = [(name, label) for name, label in named if os.sep + "." not in os.sep + name]
    empty = sorted(labels.keys() - {name.split(os.sep)[0] for name, _ in named})
    if empty:
        raise FileNotFoundError(
            f"{root.absolute()} must hold images of every class. Found none in {', '.join(empty)}, hidden ones aside; "
            f"their names must end in {', '.join(IMG_EXTENSIONS)}."
        )
    return [name for name, _ in named], np.array([label for _, label in named])


def write_images(path: Path, root: Path, filenames: Sequence[str], size: int, n_jobs: int | None) -> None:
    """Read all images and write them to one ``.npy`` file, (n, 3, size, size) uint8."""
    # Pillow decodes without holding the interpreter's lock, so threads do.
    with image_file(path, size) as append, Parallel(n_jobs=n_jobs, prefer="threads") as parallel:
        for start in range(0, len(filenames), _BLOCK):
            paths = (root / name for name in filenames[start : start + _BLOCK])
            append(np.stack(parallel(delayed(_read_image)(path, size) for path in paths)))


def _read_image(path: Path, size: int) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":  # converting clips at 255, which would leave most of such images white
                raise ValueError(f"its pixels are of more than 8 bits (mode {image.mode}): scale them and save it anew")
            ImageOps.exif_transpose(image, in_place=True)
            square = ImageOps.fit(image.convert("RGB"), (size, size), method=Image.Resampling.BILINEAR)
    except MemoryError:
        raise
    except Exception as error:  # the decoders of damaged images raise errors of many kinds
        raise ValueError(f"{path.absolute()} cannot be read as an image: {error}.") from error
    return np.asarray(square).transpose(2, 0, 1)
