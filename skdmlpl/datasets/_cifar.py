"""Long-tailed CIFAR-10 and CIFAR-100."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, column_or_1d

from skdmlpl.datasets._batch_files import check_files, read_batch
from skdmlpl.datasets._long_tail import make_long_tailed_split
from skdmlpl.datasets._partly_labeled import partly_labeled

__all__ = ["load_cifar_lt"]

_SIZE = 32
# As text, because a list of 100 names would take as many lines.
_NAMES_10 = "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905
_NAMES_100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
""".split()  # noqa: SIM905


class _Cifar(NamedTuple):
    """How a data set is stored, and its most reported long-tailed setting."""

    torchvision_name: str
    folder: str
    train_files: tuple[str, ...]
    test_file: str
    label_key: str
    target_names: list[str]
    n_labeled: int
    n_unlabeled: int
    imbalance_ratio: float


_DATA_SETS = {
    "cifar10": _Cifar(
        torchvision_name="CIFAR10",
        folder="cifar-10-batches-py",
        train_files=tuple(f"data_batch_{i}" for i in range(1, 6)),
        test_file="test_batch",
        label_key="labels",
        target_names=_NAMES_10,
        n_labeled=1500,
        n_unlabeled=3000,
        imbalance_ratio=100,
    ),
    "cifar100": _Cifar(
        torchvision_name="CIFAR100",
        folder="cifar-100-python",
        train_files=("train",),
        test_file="test",
        label_key="fine_labels",
        target_names=_NAMES_100,
        n_labeled=150,
        n_unlabeled=300,
        imbalance_ratio=20,
    ),
}


def load_cifar_lt(
    name: Literal["cifar10", "cifar100"],
    root: str | os.PathLike | None = None,
    *,
    arrays: Sequence[ArrayLike] | None = None,
    n_labeled: int | None = None,
    n_unlabeled: int | None = None,
    imbalance_ratio: float | None = None,
    imbalance_ratio_unlabeled: float | None = None,
    unlabeled_distribution: Literal["consistent", "uniform", "reversed"] = "consistent",
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Load CIFAR-10-LT or CIFAR-100-LT: a long-tailed part with labels, another without, and the full test set.

    The training images [1]_ are split by :func:`make_long_tailed_split`, whose class sizes are those of the published
    protocol [2]_. The first class is the largest of the labelled part.

    Parameters
    ----------
    name : {"cifar10", "cifar100"}
        Which of the two; CIFAR-100 with its 100 fine classes.
    root : str or path-like, default=None
        Folder that holds ``cifar-10-batches-py`` or ``cifar-100-python``: the `root` of torchvision's datasets.
    arrays : sequence of X_train, y_train, X_test and y_test, default=None
        The images themselves, in place of `root`: arrays of shape (n_images, 3, 32, 32), uint8, and their classes,
        integers in the official order.
    n_labeled : int, default=None
        Labelled images of the largest class. None takes 1500 for CIFAR-10 and 150 for CIFAR-100.
    n_unlabeled : int, default=None
        Unlabelled images of the largest class. None takes 3000 for CIFAR-10 and 300 for CIFAR-100.
    imbalance_ratio : float, default=None
        Labelled images of the largest class over those of the smallest. None takes 100 for CIFAR-10 and 20 for
        CIFAR-100.
    imbalance_ratio_unlabeled : float, default=None
        The same for the unlabelled images. None takes `imbalance_ratio`. Not used for ``"uniform"``.
    unlabeled_distribution : {"consistent", "uniform", "reversed"}, default="consistent"
        Class sizes of the unlabelled part: in the same order as the labelled ones, `n_unlabeled` of every class, or
        with the last class the largest.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw; an int gives the same split at each call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        X : ndarray of shape (n_images, 3, 32, 32), uint8
            The labelled images, then the unlabelled ones.
        y : ndarray of shape (n_images,), int64
            Class of each image, -1 for the unlabelled ones: ``fit(data.X, data.y)``.
        labeled, unlabeled : ndarray of shape (n_labeled_images,) and (n_unlabeled_images,), int64
            Row numbers in `X`.
        y_unlabeled : ndarray of shape (n_unlabeled_images,), int64
            True classes of the unlabelled images, for evaluation only.
        X_test : ndarray of shape (n_test_images, 3, 32, 32), uint8
            The whole test set, balanced.
        y_test : ndarray of shape (n_test_images,), int64
            Classes of the test images.
        target_names : ndarray of shape (n_classes,), str
            Names of the classes.

    Raises
    ------
    FileNotFoundError
        If files are missing; the message names them and says where to get them. Nothing is downloaded.
    ValueError
        If a file is damaged, `arrays` are not of the form described, a parameter is out of its range, or a class has
        too few images.

    References
    ----------
    .. [1] A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, University of
       Toronto, 2009, https://www.cs.toronto.edu/~kriz/cifar.html.
    .. [2] Y. Oh, D.-J. Kim, I. S. Kweon, "DASO: Distribution-Aware Semantics-Oriented Pseudo-label for Imbalanced
       Semi-Supervised Learning", CVPR 2022, :arxiv:`2106.05682`.

    Examples
    --------
    ``load_cifar_lt("cifar10", root, random_state=0)`` reads the files in `root`. With arrays, here of noise:

    >>> import numpy as np
    >>> from skdmlpl.datasets import load_cifar_lt
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.integers(256, size=(400, 3, 32, 32), dtype=np.uint8), np.repeat(np.arange(10), 40)
    >>> data = load_cifar_lt(
    ...     "cifar10", arrays=(X, y, X[::4], y[::4]), n_labeled=10, n_unlabeled=20, imbalance_ratio=10, random_state=0
    ... )
    >>> data.X.shape, data.X.dtype
    ((114, 3, 32, 32), dtype('uint8'))
    >>> np.bincount(data.y[data.labeled])
    array([10,  7,  5,  4,  3,  2,  2,  1,  1,  1])
    """
    if name not in _DATA_SETS:
        raise ValueError(
            f"The 'name' parameter of load_cifar_lt must be one of {', '.join(_DATA_SETS)}. Got {name!r} instead."
        )
    if (root is None) == (arrays is None):
        raise ValueError("load_cifar_lt needs either root or arrays. Got both or neither.")
    cifar = _DATA_SETS[name]
    n_classes = len(cifar.target_names)
    if arrays is None:
        X_train, y_train, X_test, y_test = _read(cifar, Path(root).expanduser())
    else:
        X_train, y_train, X_test, y_test = _checked(arrays, n_classes)
    if len(np.unique(y_train)) < n_classes:
        raise ValueError(f"The training images must be of all {n_classes} classes of {cifar.torchvision_name}.")

    split = make_long_tailed_split(
        y_train,
        cifar.n_labeled if n_labeled is None else n_labeled,
        cifar.n_unlabeled if n_unlabeled is None else n_unlabeled,
        cifar.imbalance_ratio if imbalance_ratio is None else imbalance_ratio,
        imbalance_ratio_unlabeled=imbalance_ratio_unlabeled,
        unlabeled_distribution=unlabeled_distribution,
        random_state=random_state,
    )
    rows = np.concatenate([split.labeled, split.unlabeled])
    labeled = np.arange(len(split.labeled))
    return partly_labeled(X_train[rows], y_train[rows], labeled, X_test, y_test, np.array(cifar.target_names))


def _read(cifar: _Cifar, root: Path) -> tuple[np.ndarray, ...]:
    folder = root / cifar.folder
    remedy = (
        f"torchvision.datasets.{cifar.torchvision_name}({str(root)!r}, download=True) gets them; so does unpacking the "
        "'python version' of https://www.cs.toronto.edu/~kriz/cifar.html there."
    )
    check_files(folder, [*cifar.train_files, cifar.test_file], remedy)
    *train, test = (
        read_batch(folder / file, size=_SIZE, label_key=cifar.label_key, labels=range(len(cifar.target_names)))
        for file in (*cifar.train_files, cifar.test_file)
    )
    X_train, y_train = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return X_train, y_train, *test


def _checked(arrays: Sequence[ArrayLike], n_classes: int) -> tuple[np.ndarray, ...]:
    if len(arrays) != 4:
        raise ValueError(f"arrays must be X_train, y_train, X_test and y_test. Got {len(arrays)} arrays instead.")
    checked = []
    for part, X, y in (("train", *arrays[:2]), ("test", *arrays[2:])):
        X, y = np.asarray(X), column_or_1d(y)
        if X.dtype != np.uint8 or X.ndim != 4 or X.shape[1:] != (3, _SIZE, _SIZE):
            raise ValueError(
                f"X_{part} must be of dtype uint8 and shape (n_images, 3, {_SIZE}, {_SIZE}); where channels come last, "
                f"transpose(0, 3, 1, 2) mends it. Got {X.dtype} and shape {X.shape} instead."
            )
        if len(y) != len(X) or not np.isin(y, range(n_classes)).all():
            raise ValueError(
                f"y_{part} must hold an integer from 0 to {n_classes - 1} for each of the {len(X)} images of X_{part}. "
                f"Got {len(y)} labels of dtype {y.dtype} instead, {len(np.unique(y))} of them distinct."
            )
        checked += [X, y.astype(np.int64)]
    return tuple(checked)
