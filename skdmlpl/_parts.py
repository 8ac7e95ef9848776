"""The parts a fit works with: those the caller gave, and the built-in ones in place of the rest."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, clone
from torch import nn

from skdmlpl._mlp import mlp
from skdmlpl._small_convnet import small_convnet
from skdmlpl._validation import check_pseudo_labels
from skdmlpl.augmentations import FeatureCorruption, StrongImageAugmentation
from skdmlpl.interfaces import Augmentation, BackboneFactory, MetricLoss, PseudoLabels
from skdmlpl.losses import ContrastiveLoss
from skdmlpl.selectors import GraphPropagationSelector

__all__ = ["Parts", "resolve_parts"]


class Parts(NamedTuple):
    """What ``pseudo_label_rounds`` is made to work with."""

    backbone: nn.Module | BackboneFactory
    metric_loss: MetricLoss
    select: Callable[[np.ndarray, np.ndarray, np.ndarray, float], PseudoLabels]
    augment: Augmentation
    augment_classification: bool
    mirror: bool


def resolve_parts(estimator: BaseEstimator, *, is_table: bool) -> Parts:
    """Copy the parts the caller gave, and put the built-in ones where there are none."""

    def given_or(name, default):
        part = getattr(estimator, name)
        if isinstance(part, type):
            raise TypeError(
                f"The {name!r} parameter of DMLPseudoLabelClassifier must be an object or a function. Got the class "
                f"{part.__name__} instead: give an instance of it."
            )
        return default if part is None else clone(part, safe=False)

    augment = given_or("augmentation", FeatureCorruption() if is_table else StrongImageAugmentation())
    selector = given_or("selector", None)
    flip = getattr(augment, "flip", False)
    return Parts(
        # Copied or called when the network is built.
        backbone=estimator.backbone if estimator.backbone is not None else (mlp if is_table else small_convnet),
        metric_loss=given_or("metric_loss", ContrastiveLoss(margin=estimator.margin)),
        select=(
            partial(_select_by_graph, estimator.n_neighbors)
            if selector is None
            else partial(_checked_select, getattr(selector, "select", selector))
        ),
        augment=augment,
        augment_classification=not is_table,
        # An augmentation that mirrors images says that they mean the same in a mirror.
        mirror=not is_table and isinstance(flip, bool | np.bool_) and bool(flip),
    )


def _select_by_graph(
    n_neighbors: int, embeddings: np.ndarray, y: np.ndarray, proba: np.ndarray, trust: float
) -> PseudoLabels:
    return GraphPropagationSelector(n_neighbors, trust=trust).select(embeddings, y, proba)


def _checked_select(
    select: Callable, embeddings: np.ndarray, y: np.ndarray, proba: np.ndarray, trust: float
) -> PseudoLabels:
    # Of the caller's own selector nobody but the caller knows whether it trusts neighbours.
    return check_pseudo_labels(select(embeddings, y, proba), n_samples=len(y), n_classes=proba.shape[1])
