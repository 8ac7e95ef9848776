"""Baselines on images: labelled images alone, and FixMatch. Network, optimiser and views are those of our method."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor

from skdmlpl._network import EmbeddingNetwork, build_network
from skdmlpl._objectives import Objective
from skdmlpl._rows import Rows
from skdmlpl._runtime import isolated_torch, resolve_device
from skdmlpl._training import Budget, classify_in_batches, optimize
from skdmlpl.augmentations import StrongImageAugmentation, WeakImageAugmentation
from skdmlpl.backbones import small_convnet
from skdmlpl.samplers import weighted_sampler

# Of the labels-only baseline, as in our own classification loss of images.
_SMOOTHING = 0.1
_MIXUP_ALPHA = 1.0
# Of FixMatch, as published: unlabelled images for each labelled one, and the confidence that a pseudo-label takes. The
# published ratio is 7; 2 is that of the work on long tails.
_UNLABELED_RATIO = 2
_THRESHOLD = 0.95


class _Task(NamedTuple):
    """What a loss is made of."""

    network: EmbeddingNetwork
    rows: Rows
    y: Tensor  # (n_samples,), class indices, -1 for unlabelled images
    frequency: Tensor  # (n_classes,), of the labelled images
    log_prior: Tensor  # (n_classes,), added to the logits of labelled images in training; zeros without adjustment
    generator: torch.Generator

    def sampler(self, chosen: Tensor, batch_size: int) -> Callable[[], np.ndarray]:
        """Draw rows of the mask ``chosen``, all equally often."""
        chosen, labels = chosen.cpu().numpy(), self.y.cpu().numpy()
        return weighted_sampler(chosen.astype(float), batch_size, self.generator, labels)


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
        Of the same optimiser and schedule, see ``skdmlpl._training.optimize``.
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
            prior = torch.from_numpy(frequency).float().to(device)
            task = _Task(
                network,
                rows,
                y=torch.from_numpy(y).to(device),
                frequency=prior,
                log_prior=prior.log() if self.adjust else torch.zeros_like(prior),
                generator=torch.Generator().manual_seed(self.random_state),
            )
            draw = self._loss(task)
            objective = Objective((f"loss of {type(self).__name__}",), (1.0,), lambda: (draw(),))
            optimize(network, [objective], Budget(self.n_steps, self.learning_rate, self.weight_decay))
        self.network_ = network
        return self

    def predict(self, X):
        logits = classify_in_batches(self.network_, Rows(X, device=self.network_.head.weight.device))
        return self.classes_[logits.argmax(axis=1)]

    @abstractmethod
    def _loss(self, task: _Task) -> Callable[[], Tensor]:
        """Return a function that draws images and returns their loss."""


class LabelledOnly(_ImageBaseline):
    """Cross-entropy of strongly altered, mixed images: what the labelled images alone are good for.

    Targets are mixed in pairs (mixup, Zhang et al. 2018, arXiv 1710.09412) and smoothed towards the class frequencies.
    """

    def _loss(self, task: _Task) -> Callable[[], Tensor]:
        draw_labeled = task.sampler(task.y >= 0, self.batch_size)
        augment = StrongImageAugmentation()
        # Draws from torch's own generator, which is seeded for the fit.
        mixing = torch.distributions.Beta(_MIXUP_ALPHA, _MIXUP_ALPHA)

        def draw() -> Tensor:
            index = draw_labeled()
            images = augment(task.rows[index], task.generator)
            target = F.one_hot(task.y[index], len(task.frequency)).float()
            target = torch.lerp(target, task.frequency, _SMOOTHING)
            share = mixing.sample((len(index),)).to(images.device)
            # The larger share to the image itself, so that all count about equally: batches vary less.
            share = torch.maximum(share, 1 - share)
            partner = torch.randperm(len(index), generator=task.generator).to(images.device)
            images = torch.lerp(images[partner], images, share[:, None, None, None])
            target = torch.lerp(target[partner], target, share[:, None])
            _, logits = task.network(images)
            return F.cross_entropy(logits + task.log_prior, target)

        return draw


class FixMatch(_ImageBaseline):
    """Labelled images, and unlabelled ones that the network is sure of, Sohn et al. (2020), arXiv 2001.07685.

    The label of a weakly altered image, where its probability is 0.95 or more, is what the strongly altered image is
    trained on. The weak view passes forward only, which counts as a third of a pass. With ``adjust``, the loss of the
    labelled images makes the network's probabilities those of equally frequent classes, and they label as they are.
    """

    def _loss(self, task: _Task) -> Callable[[], Tensor]:
        draw_labeled = task.sampler(task.y >= 0, self.batch_size)
        draw_unlabeled = task.sampler(task.y < 0, _UNLABELED_RATIO * self.batch_size)
        weak, strong = WeakImageAugmentation(), StrongImageAugmentation()

        def draw() -> Tensor:
            index, images = draw_labeled(), task.rows[draw_unlabeled()]
            with torch.no_grad():
                _, logits = task.network(weak(images, task.generator))
            confidence, pseudo_labels = logits.softmax(dim=1).max(dim=1)
            # Labelled and unlabelled images in one batch: batch norms see both.
            views = torch.cat([weak(task.rows[index], task.generator), strong(images, task.generator)])
            _, logits = task.network(views)
            labeled = F.cross_entropy(logits[: len(index)] + task.log_prior, task.y[index])
            unlabeled = F.cross_entropy(logits[len(index) :], pseudo_labels, reduction="none")
            return labeled + (unlabeled * (confidence >= _THRESHOLD)).mean()

        return draw
