"""Baselines on images: labelled images alone, and FixMatch. Network, optimiser and views are those of our method."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor

from skdmlpl._network import EmbeddingNetwork, build_network
from skdmlpl._objectives import Objective, classification_objective
from skdmlpl._rows import Rows
from skdmlpl._runtime import isolated_torch, resolve_device
from skdmlpl._training import Budget, Training, classify_in_batches
from skdmlpl.augmentations import StrongImageAugmentation, WeakImageAugmentation
from skdmlpl.backbones import small_convnet
from skdmlpl.samplers import weighted_sampler

# Of the labels-only baseline, as our method has it for images.
_MIXUP_ALPHA = 1.0
# Of FixMatch, as published: unlabelled images for each labelled one, and the confidence that a pseudo-label takes. The
# published ratio is 7; 2 is that of the work on long tails.
_UNLABELED_RATIO = 2
_THRESHOLD = 0.95


class _Task(NamedTuple):
    """What a loss is made of."""

    network: EmbeddingNetwork
    rows: Rows
    y: np.ndarray  # (n_samples,), class indices, -1 for unlabelled images
    frequency: np.ndarray  # (n_classes,), of the labelled images
    generator: torch.Generator


class _ImageBaseline(ClassifierMixin, BaseEstimator, ABC):
    """Trains the network of our method with a loss of its own.

    Parameters
    ----------
    n_steps : int
        Gradient steps.
    adjust : bool, default=False
        Whether the loss of labelled images is adjusted by the logarithms of their class frequencies, Menon et al.
        (2021), arXiv 2007.07314.
    backbone : callable, default=small_convnet
    batch_size : int, default=64
        Labelled images a step.
    learning_rate, weight_decay : float, default=2e-3, 0.05
        Of the same optimiser and schedule, see ``skdmlpl._training.Training``.
    random_state : int, default=0
    """

    def __init__(
        self,
        n_steps,
        *,
        adjust=False,
        backbone=small_convnet,
        batch_size=64,
        learning_rate=2e-3,
        weight_decay=0.05,
        random_state=0,
    ):
        self.n_steps = n_steps
        self.adjust = adjust
        self.backbone = backbone
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.random_state = random_state

    def fit(self, X, y):
        """Fit to images (n_samples, channels, height, width); ``y`` holds class indices, -1 for unlabelled images."""
        frequency = np.bincount(y[y >= 0]) / np.count_nonzero(y >= 0)
        self.classes_ = np.arange(len(frequency))
        device = resolve_device(None)
        with isolated_torch(self.random_state, device):
            rows = Rows(X, device=device)
            # All views mirror images, so they are predicted from both sides, as ours are.
            network = build_network(self.backbone, rows[np.arange(2)], len(frequency), mirror=True)
            network.adapt(rows)
            task = _Task(network, rows, y, frequency, torch.Generator().manual_seed(self.random_state))
            budget = Budget(self.n_steps, self.learning_rate, self.weight_decay)
            Training(network, budget).run([self._objective(task)], budget.n_steps)
        self.network_ = network
        return self

    def predict(self, X):
        logits = classify_in_batches(self.network_, Rows(X, device=self.network_.device))
        return self.classes_[logits.argmax(axis=1)]

    @abstractmethod
    def _objective(self, task: _Task) -> Objective:
        """Return what training minimises."""


class LabelledOnly(_ImageBaseline):
    """The classification loss of our method on the labelled images alone: what they are good for.

    Without ``adjust``, it is not adjusted by the class frequencies.
    """

    def _objective(self, task: _Task) -> Objective:
        return classification_objective(
            task.network,
            task.rows,
            task.y,
            (task.y >= 0).astype(np.float64),
            len(task.frequency),
            adjust=self.adjust,
            mixup_alpha=_MIXUP_ALPHA,
            batch_size=self.batch_size,
            augment=StrongImageAugmentation(),
            generator=task.generator,
        )


class FixMatch(_ImageBaseline):
    """Labelled images, and unlabelled ones that the network is sure of, Sohn et al. (2020), arXiv 2001.07685.

    The label of a weakly altered image, where its probability is 0.95 or more, is what the strongly altered image is
    trained on. The weak view passes forward only, which counts as a third of a pass. With ``adjust``, the loss of the
    labelled images makes the network's probabilities those of equally frequent classes, and they label as they are.
    """

    def _objective(self, task: _Task) -> Objective:
        labeled = (task.y >= 0).astype(np.float64)
        draw_labeled = weighted_sampler(labeled, self.batch_size, task.generator, task.y)
        draw_unlabeled = weighted_sampler(1 - labeled, _UNLABELED_RATIO * self.batch_size, task.generator)
        weak, strong = WeakImageAugmentation(), StrongImageAugmentation()
        frequency = torch.from_numpy(task.frequency).float().to(task.rows.device)
        log_prior = frequency.log() if self.adjust else torch.zeros_like(frequency)
        classes = torch.from_numpy(task.y).to(task.rows.device)

        def draw() -> tuple[Tensor]:
            index, images = draw_labeled(), task.rows[draw_unlabeled()]
            with torch.no_grad():
                _, logits = task.network(weak(images, task.generator))
            confidence, pseudo_labels = logits.softmax(dim=1).max(dim=1)
            # Labelled and unlabelled images in one batch: batch norms see both.
            views = torch.cat([weak(task.rows[index], task.generator), strong(images, task.generator)])
            _, logits = task.network(views)
            labeled_loss = F.cross_entropy(logits[: len(index)] + log_prior, classes[index])
            unlabeled_loss = F.cross_entropy(logits[len(index) :], pseudo_labels, reduction="none")
            return (labeled_loss + (unlabeled_loss * (confidence >= _THRESHOLD)).mean(),)

        return Objective(("loss of FixMatch",), (1.0,), draw)
