"""Checks of a part against its protocol, for the tests of whoever writes the part.

A check tries a copy of the part on ordinary and on degenerate input, the way the estimator uses it. It returns nothing
where the part keeps its protocol. Otherwise it raises an AssertionError, as scikit-learn's ``check_estimator`` does, so
that test runners count a failure: the message says what the part must do, and what it did. The part given, the global
random generators and the caller's arrays are left as they are.
"""

import copy
import pickle
import random
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import clone
from torch import Tensor, nn

from skdmlpl._runtime import isolated_torch
from skdmlpl._validation import check_pseudo_labels
from skdmlpl.interfaces import Augmentation, BackboneFactory, MetricLoss, NeighborIndex, PseudoLabels, Selector

__all__ = ["check_augmentation", "check_backbone", "check_metric_loss", "check_neighbor_index", "check_selector"]

_N_ROWS = 6
# Share of the true nearest neighbours that an index has to find.
_RECALL = 0.95
# A loss that draws at random is called so often on each batch.
_N_DRAWS = 8


def check_backbone(backbone: nn.Module | BackboneFactory, input_shape: tuple[int, ...]) -> None:
    """Check a network, or a function that builds one, against :class:`skdmlpl.interfaces.BackboneFactory`.

    Rows must become finite vectors of one length, in batches of any size. In evaluation mode, a row's vector must not
    depend on chance or on the other rows. Every parameter that is to be trained must get a gradient. A method
    ``neighbor_features`` must return a finite vector of each row.

    Parameters
    ----------
    backbone : nn.Module or callable
        What would be the estimator's ``backbone``.
    input_shape : tuple of int, (n_features,) or (channels, height, width)
        Shape of the rows to try it on. Small images save time.

    Raises
    ------
    AssertionError
        If the protocol is broken.

    Examples
    --------
    >>> from torch import nn
    >>> from skdmlpl.checks import check_backbone
    >>> check_backbone(nn.Linear(5, 3), input_shape=(5,))
    >>> check_backbone(nn.Identity(), input_shape=(5,))
    Traceback (most recent call last):
    ...
    AssertionError: The backbone Identity must have parameters that require a gradient. Got none instead.
    """
    part = _Part("backbone", backbone)
    with isolated_torch(seed=0, device=torch.device("cpu")):
        network = _build(part, backbone, input_shape)
        batch = torch.randn(_N_ROWS, *input_shape).to(getattr(network, "input_dtype", torch.float32))
        if hasattr(network, "adapt"):
            part.attempt("learn from an iterator of batches in adapt", network.adapt, iter(batch.split(4)))
        if hasattr(network, "adapt_to_labels"):
            pairs = zip(batch.split(4), (torch.arange(_N_ROWS) % 2).split(4), strict=True)
            part.attempt("learn from pairs of batch and labels in adapt_to_labels", network.adapt_to_labels, pairs, 3)
        width = _features(part, network.train(), batch).shape[1]
        with torch.inference_mode():
            together, again, alone = (_features(part, network.eval(), b) for b in (batch, batch, batch[:1]))
        widths = {width, together.shape[1], alone.shape[1]}
        part.must("return vectors of one length", len(widths) == 1, got=f"lengths {sorted(widths)}")
        what = "return the same vectors for the same rows each time in evaluation mode"
        part.must(what, torch.equal(together, again), got="other vectors the second time")
        difference = (together[:1] - alone).abs().max()
        part.must(
            "treat each row by itself in evaluation mode",
            difference <= 1e-3 * together.abs().max(),
            got=f"a difference of {difference:.2g} between a row alone and the same row in a batch",
        )
        if hasattr(network, "neighbor_features"):
            places = part.attempt("say what neighbours are looked for by", network.neighbor_features, together, batch)
            shape = tuple(getattr(places, "shape", ()))
            what = "return a finite vector of each row from neighbor_features"
            part.must(what, len(shape) == 2 and shape[0] == _N_ROWS, got=f"shape {shape}")
            part.must(what, bool(torch.isfinite(places).all()), got="numbers that are not finite")
        _check_gradient_reaches_parameters(part, network.train(), batch)


def check_metric_loss(loss: MetricLoss) -> None:
    """Check a metric loss against :class:`skdmlpl.interfaces.MetricLoss`.

    The loss must be a finite scalar with a finite gradient on every batch, 0 for a single row, lower for well separated
    labels than for mixed ones, and the same whatever the order of the rows; where it draws at random, the same on
    average.

    Parameters
    ----------
    loss : callable
        What would be the estimator's ``metric_loss``.

    Raises
    ------
    AssertionError
        If the protocol is broken.

    Examples
    --------
    >>> from skdmlpl.checks import check_metric_loss
    >>> from skdmlpl.losses import ContrastiveLoss
    >>> check_metric_loss(ContrastiveLoss())
    >>> check_metric_loss(lambda embeddings, labels: embeddings.sum(dim=1))
    Traceback (most recent call last):
    ...
    AssertionError: The metric loss <lambda> must return a scalar tensor for an ordinary batch. Got shape (12,) instead.
    """
    part = _Part("metric loss", loss)
    loss = part.copied(loss)
    with isolated_torch(seed=0, device=torch.device("cpu")):
        # Four classes of different size, and two views each of two unlabelled rows.
        labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3, 1000, 1001, 1000, 1001])
        embeddings = F.normalize(F.one_hot(labels % 6, 8) + 0.5 * torch.randn(len(labels), 8))
        _, gradient = _loss_and_gradient(part, loss, embeddings, labels, "an ordinary batch")
        part.must("have a gradient on an ordinary batch", gradient.any(), got="zero everywhere")
        value, _ = _loss_and_gradient(part, loss, embeddings[:1], labels[:1], "a single row")
        part.must("be 0 where there is nothing to compare", abs(value) < 1e-6, got=f"{value:g} for a single row")
        _loss_and_gradient(part, loss, embeddings, torch.zeros_like(labels), "rows of one label")
        _loss_and_gradient(part, loss, embeddings, torch.arange(len(labels)), "rows that all differ in label")
        _loss_and_gradient(part, loss, embeddings[:1].repeat(len(labels), 1), labels, "identical rows")

        order = torch.randperm(len(labels))
        given = torch.stack([loss(embeddings, labels) for _ in range(_N_DRAWS)])
        shuffled = torch.stack([loss(embeddings[order], labels[order]) for _ in range(_N_DRAWS)])
        spread = max(float(values.max() - values.min()) for values in (given, shuffled))
        part.must(
            "not depend on the order of the rows",
            abs(given.mean() - shuffled.mean()) <= 1e-3 * (1 + abs(given.mean())) + spread,
            got=f"{given.mean():.4g} and, after shuffling, {shuffled.mean():.4g}",
        )
        clusters = torch.arange(16) % 4
        embeddings = F.normalize(F.one_hot(clusters, 8) + 0.1 * torch.randn(16, 8))
        right, wrong = loss(embeddings, clusters), loss(embeddings, clusters.sort().values)
        what = "be lower where rows of equal label are close than where labels are mixed"
        part.must(what, right < wrong, got=f"{right:.4g} and {wrong:.4g}")


def check_selector(selector: Selector | Callable[[np.ndarray, np.ndarray, np.ndarray], PseudoLabels]) -> None:
    """Check a selector, or a function that is one, against :class:`skdmlpl.interfaces.Selector`.

    Every row must get a class index or -1, and a weight in [0, 1]: also where classes have one labelled row, where
    rows are fewer than the neighbours sought, all identical or all labelled, and where probabilities are 0 and 1. Where
    class probabilities come with them, those of a row must sum to 1. The same arguments must give the same answer, and
    be left as they are.

    Parameters
    ----------
    selector : object with a method ``select``, or callable
        What would be the estimator's ``selector``.

    Raises
    ------
    AssertionError
        If the protocol is broken.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmlpl.checks import check_selector
    >>> check_selector(lambda embeddings, y, proba: (proba.argmax(axis=1), proba.max(axis=1)))
    >>> check_selector(lambda embeddings, y, proba: (proba.argmax(axis=1), np.ones(3)))
    Traceback (most recent call last):
    ...
    AssertionError: The selector <lambda> must keep to its protocol for an ordinary set of rows. It raised...
    """
    part = _Part("selector", selector)
    for case, arguments in _selector_cases().items():
        n_samples, n_classes = arguments[2].shape
        answers = []
        for _ in range(2):
            fresh, given = part.copied(selector), copy.deepcopy(arguments)
            answer = part.attempt(f"take {case}", getattr(fresh, "select", fresh), *given)
            is_same = all(np.array_equal(a, b) for a, b in zip(given, arguments, strict=True))
            part.must("leave its arguments as they are", is_same, got=f"other values after {case}")
            answers.append(
                part.attempt(f"keep to its protocol for {case}", check_pseudo_labels, answer, n_samples, n_classes)
            )
        is_same = all(np.array_equal(a, b) for a, b in zip(*answers, strict=True))
        part.must("answer the same to the same arguments", is_same, got=f"two different answers for {case}")


def check_augmentation(augmentation: Augmentation, input_shape: tuple[int, ...]) -> None:
    """Check an augmentation against :class:`skdmlpl.interfaces.Augmentation`.

    The altered batch must have the shape and the dtype of the batch given, which stays as it is, and be decided by the
    generator given alone. Batches of one row, and of float64, are tried too.

    Parameters
    ----------
    augmentation : callable
        What would be the estimator's ``augmentation``.
    input_shape : tuple of int, (n_features,) or (channels, height, width)
        Shape of the rows to try it on.

    Raises
    ------
    AssertionError
        If the protocol is broken.

    Examples
    --------
    >>> import torch
    >>> from skdmlpl.checks import check_augmentation
    >>> check_augmentation(lambda batch, generator: batch.roll(1, dims=-1), input_shape=(5,))
    >>> check_augmentation(lambda batch, generator: batch + torch.randn(batch.shape), input_shape=(5,))
    Traceback (most recent call last):
    ...
    AssertionError: The augmentation <lambda> must draw from the generator given alone. Got a changed state of a global
    generator instead.
    """
    part = _Part("augmentation", augmentation)
    augmentation = part.copied(augmentation)
    rows = torch.randn(_N_ROWS, *input_shape, generator=torch.Generator().manual_seed(0))
    for before in (rows, rows[:1], rows.double()):
        batch, case = before.clone(), f"a batch of shape {tuple(before.shape)} and {before.dtype}"
        state = _global_state()
        first, second = (
            part.attempt(f"take {case}", augmentation, batch, torch.Generator().manual_seed(1)) for _ in range(2)
        )
        what = "return a tensor of the shape and dtype of the batch"
        part.must(what, isinstance(first, Tensor), got=type(first).__name__)
        is_same = (first.shape, first.dtype) == (batch.shape, batch.dtype)
        part.must(what, is_same, got=f"shape {tuple(first.shape)} and {first.dtype} for {case}")
        part.must("leave the batch given as it is", torch.equal(batch, before), got="other values")
        part.must("return finite values", first.isfinite().all(), got="NaN or infinity")
        is_same = _global_state() == state
        part.must("draw from the generator given alone", is_same, got="a changed state of a global generator")
        what = "repeat itself from the same state of the generator"
        part.must(what, torch.equal(first, second), got=f"two different results for {case}")


def check_neighbor_index(index: NeighborIndex) -> None:
    """Check a nearest-neighbour index against :class:`skdmlpl.interfaces.NeighborIndex`.

    The index must return Euclidean distances, nearest first, with the row numbers they belong to, and find 95 % of the
    true neighbours, of fitted rows (themselves included) and of others. Identical rows, and as many neighbours as
    there are rows, are tried too. The sets are small: how well an index does on many rows is not tested.

    Parameters
    ----------
    index : object with the methods ``fit`` and ``kneighbors``
        What would be a selector's ``neighbor_index``.

    Raises
    ------
    AssertionError
        If the protocol is broken.

    Examples
    --------
    >>> from sklearn.neighbors import NearestNeighbors
    >>> from skdmlpl.checks import check_neighbor_index
    >>> check_neighbor_index(NearestNeighbors())
    >>> check_neighbor_index(NearestNeighbors(metric="sqeuclidean"))
    Traceback (most recent call last):
    ...
    AssertionError: The neighbor index NearestNeighbors must return the Euclidean distances to the rows it names. Got...
    """
    part = _Part("neighbor index", index)
    rng = np.random.default_rng(0)
    rows, others = (rng.normal(size=(n, 8)).astype(np.float32) for n in (200, 50))
    few, equal = rows[:20], rows[:1].repeat(20, axis=0)
    cases = {
        "rows searched among themselves": (rows, rows, 10),
        "other rows than the fitted": (rows, others, 10),
        "as many neighbours as rows": (few, few, 20),
        "identical rows": (equal, equal, 5),
    }
    for case, (points, queries, k) in cases.items():
        given = points.copy(), queries.copy()
        answer = part.attempt(f"be fitted and search {case}", _fit_and_search, part.copied(index), *given, k)
        is_same = np.array_equal(given[0], points) and np.array_equal(given[1], queries)
        part.must("leave its arguments as they are", is_same, got=f"other values after {case}")
        _check_neighbors(part, answer, points, queries, k, case)


class _Part:
    """A part on trial; speaks in its name."""

    def __init__(self, kind: str, part: object) -> None:
        self.name = f"The {kind} {getattr(part, '__name__', type(part).__name__)}"

    def must(self, what: str, condition: object, *, got: object) -> None:
        if not condition:
            raise AssertionError(f"{self.name} must {what}. Got {got} instead.")

    def attempt(self, what: str, call: Callable, *args, **kwargs):
        try:
            return call(*args, **kwargs)
        except Exception as error:
            raise AssertionError(f"{self.name} must {what}. It raised {type(error).__name__}: {error}") from error

    def copied(self, original):
        if isinstance(original, type):
            raise AssertionError(f"{self.name} must be an object. Got the class itself: give an instance of it.")
        return self.attempt("allow to be copied", clone, original, safe=False)


def _build(part: _Part, backbone: nn.Module | BackboneFactory, input_shape: tuple[int, ...]) -> nn.Module:
    if isinstance(backbone, nn.Module):
        return part.copied(backbone)
    what = f"be a torch.nn.Module or build a new one for rows of shape {tuple(input_shape)} in every call"
    first, second = (part.attempt(what, backbone, tuple(input_shape)) for _ in range(2))
    part.must(what, isinstance(first, nn.Module), got=type(first).__name__)
    shared = {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
    part.must(what, not shared, got=f"two that share {len(shared)} parameters")
    return first


def _features(part: _Part, network: nn.Module, batch: Tensor) -> Tensor:
    mode = "training" if network.training else "evaluation"
    what = f"map a batch of shape {tuple(batch.shape)} to vectors ({len(batch)}, d) in {mode} mode"
    features = part.attempt(what, network, batch)
    part.must(what, isinstance(features, Tensor), got=type(features).__name__)
    is_fitting = features.ndim == 2 and len(features) == len(batch) and features.shape[1] > 0
    part.must(what, is_fitting, got=f"shape {tuple(features.shape)}")
    part.must("return floating-point vectors", features.is_floating_point(), got=features.dtype)
    part.must(f"return finite vectors in {mode} mode", features.isfinite().all(), got="NaN or infinity")
    return features


def _check_gradient_reaches_parameters(part: _Part, network: nn.Module, batch: Tensor) -> None:
    trainable = {name: p for name, p in network.named_parameters() if p.requires_grad}
    part.must("have parameters that require a gradient", trainable, got="none")
    features = _features(part, network, batch)
    part.must("pass the gradient on to its parameters", features.requires_grad, got="vectors cut off from them")
    part.attempt("be differentiable", (features * torch.randn_like(features)).sum().backward)
    without = [name for name, p in trainable.items() if p.grad is None]
    what = "pass the gradient on to every parameter that requires one"
    part.must(what, not without, got=f"none for {', '.join(without[:3])}{' and others' if without[3:] else ''}")
    gradients = [p.grad for p in trainable.values()]
    part.must("have a finite gradient", all(g.isfinite().all() for g in gradients), got="NaN or infinity")
    part.must("have a gradient", any(g.any() for g in gradients), got="zero everywhere")


def _loss_and_gradient(
    part: _Part, loss: MetricLoss, embeddings: Tensor, labels: Tensor, case: str
) -> tuple[float, Tensor]:
    leaf = embeddings.clone().requires_grad_()
    given = leaf * 1, labels.clone()  # no leaf: what a network returns can be modified in place
    value = part.attempt(f"take {case}", loss, *given)
    what = f"return a scalar tensor for {case}"
    part.must(what, isinstance(value, Tensor), got=type(value).__name__)
    part.must(what, value.ndim == 0, got=f"shape {tuple(value.shape)}")
    part.must(f"be finite for {case}", value.isfinite(), got=value.item())
    is_same = torch.equal(given[0], embeddings) and torch.equal(given[1], labels)
    part.must("leave its arguments as they are", is_same, got=f"other values after {case}")
    what = f"belong to the graph of the embeddings for {case}"
    part.must(what, value.requires_grad, got="a value without a gradient")
    part.attempt(f"be differentiable for {case}", value.backward)
    part.must(what, leaf.grad is not None, got="a value that does not depend on them")
    part.must(f"have a finite gradient for {case}", leaf.grad.isfinite().all(), got="NaN or infinity")
    return value.item(), leaf.grad


def _fit_and_search(index: NeighborIndex, points: np.ndarray, queries: np.ndarray, k: int) -> object:
    index.fit(points)
    return index.kneighbors(queries, n_neighbors=k)


def _check_neighbors(part: _Part, answer: object, points: np.ndarray, queries: np.ndarray, k: int, case: str) -> None:
    what = f"return distances and indices, both of shape {(len(queries), k)}, for {case}"
    arrays = part.attempt(what, lambda: [np.asarray(array) for array in answer])
    shapes = [array.shape for array in arrays]
    part.must(what, shapes == 2 * [(len(queries), k)], got=f"shapes {shapes}")
    distances, indices = arrays
    is_row = indices.dtype.kind in "iu" and indices.min() >= 0 and indices.max() < len(points)
    got = f"{indices.dtype} from {indices.min()} to {indices.max()}"
    part.must(f"return indices from 0 to {len(points) - 1} for {case}", is_row, got=got)
    n_repeated = sum(len(set(row)) < k for row in indices.tolist())
    part.must(f"name a row once for {case}", n_repeated == 0, got=f"a repeated index for {n_repeated} rows")
    true = np.linalg.norm(queries[:, None].astype(np.float64) - points[None], axis=2)  # (n_queries, n_points)
    off = np.abs(distances - np.take_along_axis(true, indices, axis=1)).max()
    what = "return the Euclidean distances to the rows it names"
    part.must(what, off <= 1e-3 * (1 + true.max()), got=f"distances off by up to {off:.2g} for {case}")
    is_sorted = np.all(np.diff(distances, axis=1) >= 0)
    part.must("return the nearest first", is_sorted, got=f"unsorted distances for {case}")
    if queries is points:
        found = np.mean(distances[:, 0] <= 1e-3 * (1 + true.max()))
        part.must(f"count a fitted row among its neighbours for {case}", found >= _RECALL, got=f"{found:.0%} that are")
    furthest = np.sort(true, axis=1)[:, k - 1 : k]
    recall = np.mean(distances <= furthest + 1e-3 * (1 + furthest))
    part.must(f"find {_RECALL:.0%} of the nearest rows for {case}", recall >= _RECALL, got=f"{recall:.0%}")


def _selector_cases() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return embeddings, y and proba by what is special about them."""
    rng = np.random.default_rng(0)

    def rows(*class_sizes: int, n_unlabeled: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y = np.repeat([*range(len(class_sizes)), -1], [*class_sizes, n_unlabeled])
        true = np.where(y < 0, rng.integers(len(class_sizes), size=len(y)), y)
        embeddings = np.eye(8)[true] + 0.2 * rng.normal(size=(len(y), 8))
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        proba = rng.dirichlet(np.ones(len(class_sizes)), size=len(y))
        return embeddings.astype(np.float32), y, proba.astype(np.float32)

    embeddings, y, proba = rows(12, 4, 2, n_unlabeled=20)
    return {
        "an ordinary set of rows": (embeddings, y, proba),
        "one labelled row in each class": rows(1, 1, 1, n_unlabeled=20),
        "one unlabelled row": rows(12, 4, 2, n_unlabeled=1),
        "no unlabelled row": rows(12, 4, 2, n_unlabeled=0),
        "three rows in all": rows(1, 1, n_unlabeled=1),
        "identical rows": (embeddings[:1].repeat(len(y), axis=0), y, proba),
        "probabilities of 0 and 1": (embeddings, y, np.eye(3, dtype=np.float32)[proba.argmax(axis=1)]),
    }


def _global_state() -> bytes:
    return pickle.dumps((random.getstate(), np.random.get_state(), torch.get_rng_state().numpy()))  # noqa: NPY002
