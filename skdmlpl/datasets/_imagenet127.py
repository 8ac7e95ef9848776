"""ImageNet127: ImageNet's 1,000 classes merged into 127 of very different size."""

import csv
import os
from collections.abc import Callable
from importlib.resources import files
from numbers import Integral, Real
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar

from skdmlpl.datasets._array_cache import cache_folder, image_file
from skdmlpl.datasets._batch_files import check_files, read_batch
from skdmlpl.datasets._image_folder import list_images, write_images
from skdmlpl.datasets._partly_labeled import draw_labeled, partly_labeled

__all__ = ["ClassTable", "class_table", "load_imagenet127", "load_small_imagenet127"]

_SMALL_FILES = {"train": [f"train_data_batch_{i}" for i in range(1, 11)], "test": ["val_data"]}
_FOLDERS = {"train": "train", "test": "val"}


class ClassTable(NamedTuple):
    """To which of the 127 classes each of ImageNet's 1,000 belongs.

    Attributes
    ----------
    wnids : list of str
        WordNet identifiers of the 1,000 classes, in the order in which ImageNet's development kit numbers them from 1.
    classes : ndarray of shape (1000,), int64
        Index of each one's class among the 127.
    target_names : ndarray of shape (127,), str
        Names of the 127 classes.
    """

    wnids: list[str]
    classes: np.ndarray
    target_names: np.ndarray


def class_table() -> ClassTable:
    """Read the table of classes that comes with the package."""
    with (files("skdmlpl.datasets") / "imagenet127.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = {int(row["class_index"]): row["class_name"] for row in rows}
    return ClassTable(
        wnids=[row["wnid"] for row in rows],
        classes=np.array([int(row["class_index"]) for row in rows]),
        target_names=np.array([names[i] for i in range(len(names))]),
    )


def load_small_imagenet127(
    root: str | os.PathLike,
    size: int = 32,
    *,
    labeled_fraction: float = 0.1,
    cache_dir: str | os.PathLike | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Load Small-ImageNet127: the downsampled ImageNet in 127 classes, a tenth of each with labels.

    The images are those of [1]_, their classes are merged as for [2]_ and [3]_. The largest class has 286 times as
    many images as the smallest. ImageNet's validation images are the test set, as imbalanced as the training images:
    score with balanced accuracy.

    The 1.28 million training images are written to a file once, and memory-mapped by this and later calls: 4.1 GB for
    32 x 32 pixels, 16.4 GB for 64 x 64, test images included. Writing it holds one of the ten files in memory.

    Parameters
    ----------
    root : str or path-like
        Folder with the files ``train_data_batch_1`` to ``train_data_batch_10`` and ``val_data``.
    size : int, default=32
        Height and width of the images in these files: 32 or 64 in the published protocol.
    labeled_fraction : float, default=0.1
        Share of each class that has labels, rounded to whole images, and at least one image.
    cache_dir : str or path-like, default=None
        Folder for the file of all images. None takes `root`.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw; an int gives the same labelled images at each call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        X : memmap of shape (n_images, 3, size, size), uint8
            All training images, in the order of the files; read-only.
        y : ndarray of shape (n_images,), int64
            Class of each image, -1 for the unlabelled ones: ``fit(data.X, data.y)``.
        labeled, unlabeled : ndarray of shape (n_labeled_images,) and (n_unlabeled_images,), int64
            Row numbers in `X`, ascending.
        y_unlabeled : ndarray of shape (n_unlabeled_images,), int64
            True classes of the unlabelled images, for evaluation only.
        X_test : memmap of shape (n_test_images, 3, size, size), uint8
            The validation images; read-only.
        y_test : ndarray of shape (n_test_images,), int64
            Classes of the test images.
        target_names : ndarray of shape (127,), str
            Names of the classes.

    Raises
    ------
    FileNotFoundError
        If files are missing; the message names them and says where to get them. Nothing is downloaded.
    ValueError
        If a file is damaged or holds images of another size, or a parameter is out of its range.
    OSError
        If `cache_dir` cannot be written to or has too little space.

    Notes
    -----
    The 127 classes and their order are those of [4]_ as used in [2]_ and [3]_. The package's table assigns each of the
    1,000 classes to its nearest ancestor among the 127 in WordNet 3.0 [5]_. 76 of them have several ancestors among
    the 127; for two, meat_loaf and iPod, two are equally near. WordNet 3.0 is copyright 2006 by Princeton University,
    whose licence permits use, copying and modification for any purpose.

    The labelled and the unlabelled images are disjoint here, while the code of [3]_ has the labelled images among the
    unlabelled ones too.

    References
    ----------
    .. [1] P. Chrabaszcz, I. Loshchilov, F. Hutter, "A Downsampled Variant of ImageNet as an Alternative to the CIFAR
       datasets", :arxiv:`1707.08819`.
    .. [2] C. Wei, K. Sohn, C. Mellina, A. Yuille, F. Yang, "CReST: A Class-Rebalancing Self-Training Framework for
       Imbalanced Semi-Supervised Learning", CVPR 2021, :doi:`10.1109/CVPR46437.2021.01071`.
    .. [3] Y. Fan, D. Dai, A. Kukleva, B. Schiele, "CoSSL: Co-Learning of Representation and Classifier for Imbalanced
       Semi-Supervised Learning", CVPR 2022, :doi:`10.1109/CVPR52688.2022.01417`.
    .. [4] M. Huh, P. Agrawal, A. A. Efros, "What makes ImageNet good for transfer learning?", :arxiv:`1608.08614`.
    .. [5] G. A. Miller, "WordNet: A Lexical Database for English", Communications of the ACM 38 (1995) 39-41,
       :doi:`10.1145/219717.219748`. Licence: https://wordnet.princeton.edu/license-and-commercial-use.

    Examples
    --------
    >>> from skdmlpl.datasets import load_small_imagenet127
    >>> data = load_small_imagenet127("~/data/imagenet32", size=32, random_state=0)  # doctest: +SKIP
    >>> clf.fit(data.X, data.y)  # doctest: +SKIP
    """
    rng = _check_arguments(size, labeled_fraction, random_state)
    root = Path(root).expanduser()
    remedy = (
        f"Get 'Download downsampled image data (32x32, 64x64)' for {size}x{size} from "
        "https://image-net.org/download-images, which asks for an account, and unpack training and validation data."
    )
    names = [name for part in _SMALL_FILES.values() for name in part]
    check_files(root, names, remedy)
    n_bytes = {name: (root / name).stat().st_size for name in names}
    folder = cache_folder(
        root if cache_dir is None else Path(cache_dir).expanduser(),
        f"small-imagenet-{size}px",
        [f"{name} {n}" for name, n in n_bytes.items()],
        sum(n_bytes.values()),
        lambda folder: _convert_batches(folder, root, size),
    )
    table = class_table()
    y_train, y_test = (table.classes[np.load(folder / f"{part}-labels.npy") - 1] for part in _SMALL_FILES)
    return _memory_mapped(folder, y_train, y_test, table.target_names, labeled_fraction, rng)


def load_imagenet127(
    root: str | os.PathLike,
    size: int = 224,
    *,
    labeled_fraction: float = 0.1,
    cache_dir: str | os.PathLike | None = None,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Load ImageNet127: the photographs of ImageNet in 127 classes, a tenth of each with labels.

    The classes are merged as in [1]_; the largest has 286 times as many images as the smallest. ImageNet's validation
    images are the test set, as imbalanced as the training images: score with balanced accuracy.

    Each image is turned upright where its file says how (EXIF), and its largest central square is taken and scaled to
    `size` x `size` pixels, in RGB. The result is written to a file once, and memory-mapped by this and later calls: 200
    GB for 224 x 224 pixels, 65 GB for 128 x 128.

    Parameters
    ----------
    root : str or path-like
        Folder with the folders ``train`` and ``val``, each with one folder of images for each of the 1,000 classes,
        named by its WordNet identifier, such as ``n01440764``. Other folders are passed over.
    size : int, default=224
        Height and width of the images in the result, in pixels.
    labeled_fraction : float, default=0.1
        Share of each class that has labels, rounded to whole images, and at least one image.
    cache_dir : str or path-like, default=None
        Folder for the file of all images. None takes `root`. Added, removed and renamed images are noticed; after
        other changes, delete the folder ``imagenet-...`` in there.
    n_jobs : int, default=None
        Number of threads that read images. None is 1 unless in a :func:`joblib.parallel_config` context, -1 all
        processors.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw; an int gives the same labelled images at each call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        X : memmap of shape (n_images, 3, size, size), uint8
            All training images, in the order of their paths; read-only.
        y : ndarray of shape (n_images,), int64
            Class of each image, -1 for the unlabelled ones: ``fit(data.X, data.y)``.
        labeled, unlabeled : ndarray of shape (n_labeled_images,) and (n_unlabeled_images,), int64
            Row numbers in `X`, ascending.
        y_unlabeled : ndarray of shape (n_unlabeled_images,), int64
            True classes of the unlabelled images, for evaluation only.
        X_test : memmap of shape (n_test_images, 3, size, size), uint8
            The validation images; read-only.
        y_test : ndarray of shape (n_test_images,), int64
            Classes of the test images.
        target_names : ndarray of shape (127,), str
            Names of the classes.

    Raises
    ------
    FileNotFoundError
        If a folder is missing, or one has no images; the message names it and says where to get the images. Nothing
        is downloaded.
    ValueError
        If a file cannot be read as an image, or a parameter is out of its range.
    OSError
        If `cache_dir` cannot be written to or has too little space.

    See Also
    --------
    load_small_imagenet127 : The same with images of 32 x 32 or 64 x 64 pixels; says where the classes come from.

    References
    ----------
    .. [1] C. Wei, K. Sohn, C. Mellina, A. Yuille, F. Yang, "CReST: A Class-Rebalancing Self-Training Framework for
       Imbalanced Semi-Supervised Learning", CVPR 2021, :doi:`10.1109/CVPR46437.2021.01071`.

    Examples
    --------
    >>> from skdmlpl.datasets import load_imagenet127
    >>> data = load_imagenet127("~/data/imagenet", size=64, n_jobs=-1, random_state=0)  # doctest: +SKIP
    >>> clf.fit(data.X, data.y)  # doctest: +SKIP
    """
    rng = _check_arguments(size, labeled_fraction, random_state)
    root = Path(root).expanduser()
    table = class_table()
    _check_folders(root, table)
    labels = dict(zip(table.wnids, table.classes.tolist(), strict=True))
    listed = {part: list_images(root / name, labels) for part, name in _FOLDERS.items()}
    paths = {part: [os.path.join(_FOLDERS[part], name) for name in names] for part, (names, _) in listed.items()}

    def write(folder: Path) -> None:
        for part in paths:
            write_images(folder / f"{part}.npy", root, paths[part], size, n_jobs)

    folder = cache_folder(
        root if cache_dir is None else Path(cache_dir).expanduser(),
        f"imagenet-{size}px",
        [str(root.absolute()), *paths["train"], *paths["test"]],
        3 * size * size * sum(map(len, paths.values())),
        write,
    )
    y_train, y_test = (y for _, y in listed.values())
    return _memory_mapped(folder, y_train, y_test, table.target_names, labeled_fraction, rng)


def _check_arguments(
    size: int, labeled_fraction: float, random_state: int | np.random.RandomState | None
) -> np.random.RandomState:
    """Raise before anything is read, which may take hours; return the generator of ``random_state``."""
    check_scalar(size, "size", Integral, min_val=1)
    check_scalar(labeled_fraction, "labeled_fraction", Real, min_val=0, max_val=1, include_boundaries="neither")
    return check_random_state(random_state)


def _convert_batches(folder: Path, root: Path, size: int) -> None:
    """Write images and labels, from 1 to 1,000, of the downsampled ImageNet."""
    for part, names in _SMALL_FILES.items():
        with image_file(folder / f"{part}.npy", size) as append:
            labels = [_convert_batch(root / name, size, append) for name in names]
        np.save(folder / f"{part}-labels.npy", np.concatenate(labels))


def _convert_batch(path: Path, size: int, append: Callable[[np.ndarray], None]) -> np.ndarray:
    """Append the images of one file, which leave the memory before the next is read, and return its labels."""
    images, labels = read_batch(path, size=size, labels=range(1, 1001))
    append(images)
    return labels


def _check_folders(root: Path, table: ClassTable) -> None:
    missing = [
        f"{name}/{wnid}" for name in _FOLDERS.values() for wnid in table.wnids if not (root / name / wnid).is_dir()
    ]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise FileNotFoundError(
            f"{len(missing)} of 2000 folders are missing in {root.absolute()}: {', '.join(missing[:3])}{more}. Get the "
            "training and validation images and the development kit of ILSVRC2012 from "
            "https://image-net.org/download.php, which asks for an account; torchvision.datasets.ImageNet("
            f"{str(root)!r}, split) unpacks them into these folders, for split 'train' and 'val'."
        )


def _memory_mapped(
    folder: Path,
    y_train: np.ndarray,
    y_test: np.ndarray,
    target_names: np.ndarray,
    labeled_fraction: float,
    rng: np.random.RandomState,
) -> Bunch:
    X_train, X_test = (np.load(folder / f"{part}.npy", mmap_mode="r") for part in ("train", "test"))
    labeled = draw_labeled(y_train, labeled_fraction, len(target_names), rng)
    return partly_labeled(X_train, y_train, labeled, X_test, y_test, target_names)
