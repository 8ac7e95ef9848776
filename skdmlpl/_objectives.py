"""The two losses of a gradient step: telling classes apart, and deep metric learning."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdmlpl._rows import Rows
from skdmlpl.interfaces import Augmentation, MetricLoss
from skdmlpl.samplers import class_balanced_weights, weighted_sampler

__all__ = ["Objective", "classification_objective", "metric_objective"]

# Names for messages.
_CLASSIFICATION = "classification loss"
_METRIC = "'metric_loss'"
_SMOOTHING = 0.1


class Objective(NamedTuple):
    """Losses of fresh random rows: ``draw()`` returns a scalar for each of the names, which count by the weights."""

    names: tuple[str, ...]
    weights: tuple[float, ...]
    draw: Callable[[], tuple[Tensor, ...]]


def classification_objective(
    network: nn.Module,
    rows: Rows,
    labels: np.ndarray,
    weights: np.ndarray,
    n_classes: int,
    *,
    proba: np.ndarray | None = None,
    adjust: bool = True,
    mixup_alpha: float,
    batch_size: int,
    augment: Augmentation | None,
    metric_loss: MetricLoss | None = None,
    metric_weight: float = 0.0,
    generator: torch.Generator,
) -> Objective:
    """Cross-entropy of mixed rows, adjusted by how frequent each class is among the rows drawn.

    Rows are drawn by their weights, and mixed in pairs, with shares of a Beta distribution whose two parameters are
    ``mixup_alpha`` [1]_. The log-frequencies are added to the logits in training only, so that the network learns what
    a row would be if all classes were equally frequent [2]_. Targets are smoothed towards the same frequencies:
    smoothing towards equal ones would contradict the adjustment, and push every doubtful row into the rare classes.
    Without ``adjust`` nothing is added, and the network learns the frequencies along with the rows.

    Where rows have class probabilities, ``proba`` (n_samples, n_classes), they aim at these instead of their label.

    A ``metric_loss`` shares the pass through the network: it compares the embeddings of the same mixed rows, each under
    the label of the row that makes up most of it.

    References
    ----------
    .. [1] Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: beyond empirical risk minimization", ICLR 2018,
       :arxiv:`1710.09412`.
    .. [2] Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, :arxiv:`2007.07314`.
    """
    draw_index = weighted_sampler(weights, batch_size, generator, labels)
    if proba is None:
        frequency = np.bincount(labels[weights > 0], weights=weights[weights > 0], minlength=n_classes)
    else:
        frequency = weights.astype(proba.dtype) @ proba
    frequency = torch.from_numpy(frequency / frequency.sum()).float().to(rows.device)
    adjustment = _adjustment(frequency) if adjust else torch.zeros_like(frequency)
    classes = torch.from_numpy(labels)
    # Beta(a, a) from two exponentiated uniforms would need rejection; numpy's generator is seeded from ours instead.
    beta = np.random.default_rng(_seed_from(generator))

    def draw() -> tuple[Tensor, ...]:
        index = draw_index()
        batch = rows[index]
        target = F.one_hot(classes[index], n_classes).float() if proba is None else torch.from_numpy(proba[index])
        target = target.to(rows.device)
        if augment is not None:
            batch = _altered(batch, augment, generator)
        partner = torch.randperm(len(index), generator=generator).to(rows.device)
        share = torch.from_numpy(beta.beta(mixup_alpha, mixup_alpha, len(index))).float().to(rows.device)
        share = torch.maximum(share, 1 - share)
        batch = _mix(batch, batch[partner], share)
        target = _mix(target, target[partner], share)
        target = (1 - _SMOOTHING) * target + _SMOOTHING * frequency
        embeddings, logits = network(batch)
        loss = -(target * (logits + adjustment).log_softmax(dim=1)).sum(dim=1).mean()
        if metric_loss is None:
            return (loss,)
        return loss, _metric_loss(metric_loss, embeddings, classes[index].to(rows.device))

    if metric_loss is None:
        return Objective((_CLASSIFICATION,), (1.0,), draw)
    return Objective((_CLASSIFICATION, _METRIC), (1.0, metric_weight), draw)


def metric_objective(
    network: nn.Module,
    rows: Rows,
    labels: np.ndarray,
    weights: np.ndarray,
    unlabeled: np.ndarray,
    n_classes: int,
    *,
    metric_loss: MetricLoss,
    weight: float,
    batch_size: int,
    augment: Augmentation,
    generator: torch.Generator,
) -> Objective:
    """The metric loss of altered rows: labelled ones, each class as often as any other, and pairs of unlabelled views.

    An unlabelled row comes twice, differently altered, under an id of its own: any label-based loss then learns from
    it too. As a class-balanced loss counts an id like a class, there are about as many ids as classes [1]_.

    References
    ----------
    .. [1] Yang, Xu, "Rethinking the value of labels for improving class-imbalanced learning", NeurIPS 2020,
       :arxiv:`2006.07529`, for contrastive learning on the unlabelled rows of a long tail.
    """
    n_ids = min(len(unlabeled), n_classes, batch_size // 4)
    draw_labeled = weighted_sampler(class_balanced_weights(labels, weights), batch_size - 2 * n_ids, generator, labels)
    classes = torch.from_numpy(labels)
    ids = torch.arange(n_classes, n_classes + n_ids)

    def draw() -> tuple[Tensor, ...]:
        index = draw_labeled()
        views = unlabeled[torch.randint(max(1, len(unlabeled)), (n_ids,), generator=generator).numpy()]
        batch = _altered(rows[np.concatenate([index, views, views])], augment, generator)
        embeddings, _ = network(batch)
        return (_metric_loss(metric_loss, embeddings, torch.cat([classes[index], ids, ids]).to(rows.device)),)

    return Objective((_METRIC,), (weight,), draw)


def _adjustment(frequency: Tensor) -> Tensor:
    """Return what is added to the logits in training, (n_classes,): as much as the frequencies say by themselves."""
    return frequency.clamp_min(torch.finfo(torch.float32).tiny).log()


def _mix(batch: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    share = share.to(batch.dtype).view(-1, *[1] * (batch.ndim - 1))
    return share * batch + (1 - share) * partner


def _seed_from(generator: torch.Generator) -> int:
    return int(torch.randint(2**63 - 1, (), generator=generator))


def _altered(batch: Tensor, augment: Augmentation, generator: torch.Generator) -> Tensor:
    altered = _called("augmentation", augment, batch, generator)
    if not isinstance(altered, Tensor) or altered.shape != batch.shape or altered.dtype != batch.dtype:
        raise TypeError(
            "The 'augmentation' parameter of DMLPseudoLabelClassifier must return a tensor of the dtype and "
            f"shape of the batch, {_described(batch)}. Got {_described(altered)} instead."
        )
    return altered


def _metric_loss(metric_loss: MetricLoss, embeddings: Tensor, labels: Tensor) -> Tensor:
    loss = _called("metric_loss", metric_loss, embeddings, labels)
    if not isinstance(loss, Tensor) or loss.ndim != 0:
        raise TypeError(
            "The 'metric_loss' parameter of DMLPseudoLabelClassifier must map embeddings (b, d) and labels (b,) to a "
            f"scalar tensor. Got {_described(loss)} instead."
        )
    return loss


def _called(name: str, part: Callable, *arguments: object) -> object:
    """Call a part, and say which one it was if it does not take these arguments."""
    try:
        return part(*arguments)
    except TypeError as error:
        takes = " and ".join(_described(argument) for argument in arguments)
        raise TypeError(
            f"The {name!r} parameter of DMLPseudoLabelClassifier must take {takes}. "
            f"{getattr(part, '__name__', type(part).__name__)} failed with TypeError: {error}"
        ) from error


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"
    return type(value).__name__
