"""Long-tailed splits of image data sets, fakes of the same shapes, and features of a pretrained network."""

import time
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from benchmarks.data import HERE, cifar10_images, data_folder, efficientnet_features
from skdmlpl.datasets import load_cifar_lt, load_imagenet127, load_small_imagenet127

_CACHE = HERE / "cache"
Role = Literal["supervised", "semi-supervised", "oracle"]

N_CLASSES = {"cifar10": 10, "cifar100": 100, "small-imagenet127": 127, "imagenet127": 127}
# Splits by which methods are compared most: labelled and unlabelled images of the largest class, imbalance ratio.
_USUAL = {"cifar10": (1500, 3000, 100.0), "cifar100": (150, 300, 20.0)}
# Images of each class that a validation split is scored on. The usual splits leave the largest class 500 and 50.
_N_VALIDATION = {"cifar10": 400, "cifar100": 40}


class Split(NamedTuple):
    """Which images. ``settings`` are those of ``load_cifar_lt``; data sets with a tail of their own have none."""

    dataset: str
    size: int  # pixels a side
    settings: dict[str, object]

    @property
    def name(self) -> str:
        """For headings and, joined by hyphens, for files."""
        numbers = [f"{value:g}" if isinstance(value, float) else str(value) for value in self.settings.values()]
        return " ".join([self.dataset, *(numbers or [str(self.size)])])


def split_of(
    dataset: str,
    *,
    size: int = 32,
    n_labeled: int | None = None,
    n_unlabeled: int | None = None,
    imbalance_ratio: float | None = None,
    imbalance_ratio_unlabeled: float | None = None,
    unlabeled_distribution: str = "consistent",
) -> Split:
    """Fill in what is usual for a data set where there is None."""
    given = (n_labeled, n_unlabeled, imbalance_ratio)
    if dataset not in _USUAL:
        if (*given, imbalance_ratio_unlabeled, unlabeled_distribution) != (None, None, None, None, "consistent"):
            raise SystemExit(f"{dataset} has a tail of its own: --n1, --m1, --gamma and --unlabeled are not for it.")
        return Split(dataset, 224 if dataset == "imagenet127" else size, {})
    names = ("n_labeled", "n_unlabeled", "imbalance_ratio")
    settings = {n: u if g is None else g for n, g, u in zip(names, given, _USUAL[dataset], strict=True)}
    if imbalance_ratio_unlabeled is not None:
        settings["imbalance_ratio_unlabeled"] = imbalance_ratio_unlabeled
    return Split(dataset, 32, {**settings, "unlabeled_distribution": unlabeled_distribution})


class ImageProblem(NamedTuple):
    """One split: all training images in one array, which may be memory-mapped. Labels are class indices."""

    X: np.ndarray
    y: np.ndarray  # -1 for the unlabelled images
    y_unlabeled: np.ndarray  # for oracles and reports only
    X_test: np.ndarray
    y_test: np.ndarray

    def n_images(self, role: Role) -> int:
        """Training images that a method of that role sees."""
        return int(np.count_nonzero(self.y >= 0)) if role == "supervised" else len(self.y)

    def training_rows(self, role: Role) -> tuple[np.ndarray, np.ndarray]:
        """``X, y`` as a method of that role may see them."""
        given = self.y >= 0
        match role:
            case "supervised":
                return self.X[given], self.y[given]
            case "oracle":
                y = self.y.copy()
                y[~given] = self.y_unlabeled
                return self.X, y
            case _:
                return self.X, self.y


@cache
def _cifar(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """``X_train, y_train, X_test, y_test``: torchvision's files where they are, else those of ``benchmarks.data``."""
    from torchvision.datasets import CIFAR10, CIFAR100

    reader = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    if name == "cifar10" and not (data_folder() / reader.base_folder).exists():
        return cifar10_images()
    try:
        parts = [reader(data_folder(), train=train) for train in (True, False)]
    except RuntimeError:
        raise SystemExit(
            f"{reader.base_folder} not found in the folder that SKDMLPL_DATA names. torchvision.datasets."
            f"{reader.__name__}(folder, download=True) puts it there."
        ) from None
    train, test = ((part.data.transpose(0, 3, 1, 2), np.array(part.targets)) for part in parts)
    return *train, *test


def load(split: Split, seed: int, validation: bool = False) -> ImageProblem:
    """Draw a split. For validation, training images that it leaves over take the place of the test images."""
    name, size, settings = split
    if validation and name not in _N_VALIDATION:
        raise SystemExit(f"{name} has no images left over to validate with.")
    try:
        if name == "imagenet127":
            data = load_imagenet127(data_folder() / "imagenet", size, cache_dir=_CACHE, random_state=seed)
        elif name == "small-imagenet127":
            data = load_small_imagenet127(data_folder() / f"imagenet{size}", size, cache_dir=_CACHE, random_state=seed)
        else:
            arrays = _cifar(name)
            if validation:
                X, y, *_ = arrays
                n_kept = _N_VALIDATION[name] * N_CLASSES[name]
                rest, kept = train_test_split(np.arange(len(y)), test_size=n_kept, stratify=y, random_state=seed)
                arrays = X[rest], y[rest], X[kept], y[kept]
            data = load_cifar_lt(name, arrays=arrays, **settings, random_state=seed)
    except FileNotFoundError as error:
        raise SystemExit(f"In the folder that SKDMLPL_DATA names: {error}") from None
    return ImageProblem(data.X, data.y, data.y_unlabeled, data.X_test, data.y_test)


def fake(dataset: str, size: int, seed: int = 0) -> ImageProblem:
    """Noise of the shape and with the classes of a data set, as little as will do."""
    n_classes = N_CLASSES[dataset]
    n_labeled, n_unlabeled, n_test = max(50, n_classes), 30, 5
    rng = np.random.default_rng(seed)
    X = rng.integers(256, size=(n_labeled + n_unlabeled, 3, size, size), dtype=np.uint8)
    X_test = rng.integers(256, size=(n_test, 3, size, size), dtype=np.uint8)
    classes = np.arange(n_labeled) % n_classes
    y = np.concatenate([classes, np.full(n_unlabeled, -1)])
    return ImageProblem(X, y, classes[:n_unlabeled], X_test, classes[:n_test])


def frozen_features(problem: ImageProblem, name: str, pixels: int) -> tuple[ImageProblem, float]:
    """Replace images by features of a frozen EfficientNet-Lite0, and say how long that takes for those to train on.

    The images are brought to ``pixels`` x ``pixels`` before. The features are kept in a file of ``name``.
    """
    path = _CACHE / f"{name}-lite0-{pixels}.npz"
    if not path.exists():
        start = time.perf_counter()
        X = efficientnet_features(problem.X, size=pixels)
        seconds = time.perf_counter() - start
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_name(f"unfinished-{path.name}")
        np.savez(unfinished, X=X, X_test=efficientnet_features(problem.X_test, size=pixels), seconds=seconds)
        unfinished.rename(path)
    with np.load(path) as data:
        X, X_test = (data[key].astype(np.float32) for key in ("X", "X_test"))
        return problem._replace(X=X, X_test=X_test), float(data["seconds"])
