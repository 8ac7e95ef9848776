"""The method: deep metric learning, pseudo-labelling and fine-tuning, round after round."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch

from skdmlpl._network import Committee, EmbeddingNetwork
from skdmlpl._objectives import classification_objective, metric_objective
from skdmlpl._prior import NeighborReport, consult_neighbors, estimate_prior
from skdmlpl._rows import Rows
from skdmlpl._training import Budget, Training, compare_in_batches
from skdmlpl.interfaces import Augmentation, MetricLoss, PseudoLabels, RoundRecord

__all__ = ["Plan", "pseudo_label_rounds"]

# Pseudo-labels make up at most this share of the rows drawn: given labels are right.
_PSEUDO_SHARE = 0.5
# A network has learned enough to teach itself once it has this recall on the given labels, or has seen each of them so
# many times. Before, the share shrinks by a power of how far it has come.
_ENOUGH_RECALL = 0.9
_ENOUGH_PASSES = 60
_MATURITY_POWER = 6
# The recall of a class is worth so many right labels: a class of few rows could lose them all to a frequent one, and
# few labels would be wrong.
_WORTH_OF_RECALL = 30.0
# A batch has no more rows than there are to draw from, but enough for the metric loss to compare.
_MIN_BATCH = 32
# Of so many unlabelled rows at most, the neighbours are consulted: their frequencies are those of all.
_MOST_CONSULTED = 10_000
# What so many labels tell of columns, a part of them tells as well.
_MANY_LABELED = 1_000


@dataclass(frozen=True)
class Plan:
    """The numbers of a fit; see the parameters of the estimator."""

    n_rounds: int  # after round 0; none where every row has a label
    n_steps: int  # of round 0
    n_later_steps: int  # of each round after it
    batch_size: int
    learning_rate: float
    weight_decay: float
    mixup_alpha: float
    metric_weight: float

    def steps(self, number: int) -> int:
        """Return the gradient steps of a round."""
        return self.n_steps if number == 0 else self.n_later_steps

    @property
    def budget(self) -> Budget:
        """The training of all rounds together."""
        return Budget(sum(map(self.steps, range(self.n_rounds + 1))), self.learning_rate, self.weight_decay)


def pseudo_label_rounds(
    network: EmbeddingNetwork | Committee,
    rows: Rows,
    y: np.ndarray,
    n_classes: int,
    *,
    select: Callable[[np.ndarray, np.ndarray, np.ndarray, float], PseudoLabels],
    metric_loss: MetricLoss,
    augment: Augmentation,
    augment_classification: bool,
    plan: Plan,
    generator: torch.Generator,
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[RoundRecord]:
    """Train ``network`` on labelled and unlabelled rows; yield a record after each round.

    Round 0 trains on the given labels alone. Each later round labels the unlabelled rows anew, takes the most reliable
    share of every class, a share that grows to all of them in the last round, and goes on training with these labels.
    Given labels make up half of the rows drawn at least, and nearly all as long as the network has hardly learned them.

    Where the network is a committee, each member labels a fold of the unlabelled rows, which it learns from only in the
    last round: cross-fitting [1]_, as a network that has been taught a label is no judge of it.

    The rounds share one schedule of the learning rate, which ends at zero: the early ones explore, with labels that are
    often wrong, and the last ones settle. While a record is looked at, ``network`` holds the average of its weights so
    far: what is left where no further record is asked for.

    ``y`` (n_samples,) holds class indices, -1 on unlabelled rows. Given labels are never changed. ``select`` has a
    fourth argument beside those of :class:`skdmlpl.interfaces.Selector`: how far neighbours are to be trusted.

    References
    ----------
    .. [1] Chernozhukov et al., "Double/debiased machine learning for treatment and structural parameters",
       The Econometrics Journal 21 (2018), :doi:`10.1111/ectj.12097`.
    """
    given = y >= 0
    labels, weights, proba = PseudoLabels(y, given.astype(np.float64))
    folds = draw_folds(given, len(network.members), generator)
    most, n_passes = 0.0, 0.0
    prior = labeled_prior = np.bincount(y[given], minlength=n_classes) / given.sum()
    told = _tell_by_rows(network.members[0], rows, y, n_classes, generator) if plan.n_rounds > 0 else None
    training = Training(network, plan.budget)
    for number in range(plan.n_rounds + 1):
        started = perf_counter()
        if number > 0:
            views = [View.of(member, rows, given | own) for member, own in zip(network.members, folds, strict=True)]
            logits = merge(views, [view.logits for view in views], len(y))
            prior, trust = told or (estimate_prior(softmax(logits[~given]), labeled_prior), 1.0)
            proposed = propose(views, y, prior, partial(select, trust=trust))
            most = pseudo_share(logits[given], y[given], n_passes)
            del views, logits  # large, and of no use in training
            labels, weights, proba = admit(proposed, y, share=number / plan.n_rounds)
            del proposed
        objectives = []
        for member, own in zip(network.members, folds, strict=True):
            # A network must not be taught what it is to judge again, and after the last round it judges no more.
            taught = weights if number == plan.n_rounds or len(folds) == 1 else np.where(own, 0.0, weights)
            batch_size = min(plan.batch_size, max(_MIN_BATCH, np.count_nonzero(taught)))
            drawn = _limit_pseudo(taught, given, most)
            # Where both losses learn from altered rows, they learn from the same ones, at the price of one pass.
            share_rows = augment_classification and plan.metric_weight > 0
            objectives.append(
                classification_objective(
                    member,
                    rows,
                    labels,
                    drawn,
                    n_classes,
                    proba=proba,
                    mixup_alpha=plan.mixup_alpha,
                    batch_size=batch_size,
                    augment=augment if augment_classification else None,
                    metric_loss=metric_loss if share_rows else None,
                    metric_weight=plan.metric_weight,
                    generator=generator,
                )
            )
            if plan.metric_weight > 0 and not share_rows:
                objectives.append(
                    metric_objective(
                        member,
                        rows,
                        labels,
                        taught,
                        np.flatnonzero(~given) if number > 0 else np.empty(0, dtype=np.int64),
                        n_classes,
                        metric_loss=metric_loss,
                        weight=plan.metric_weight,
                        batch_size=batch_size // 2,
                        augment=augment,
                        generator=generator,
                    )
                )
        losses = training.run(objectives, plan.steps(number), on_step)
        losses = np.reshape(losses, (len(folds), -1)).mean(axis=0).tolist()
        # The networks are alike, and so are their folds: one speaks for all.
        n_passes += plan.steps(number) * batch_size * drawn[given].mean() / drawn.sum()
        yield RoundRecord(
            round=number,
            pseudo_labels=PseudoLabels(labels[~given], weights[~given]),
            prior=prior,
            classification_loss=losses[0],
            metric_loss=losses[1] if plan.metric_weight > 0 else np.nan,
            seconds=perf_counter() - started,
        )


def _tell_by_rows(
    network: EmbeddingNetwork, rows: Rows, y: np.ndarray, n_classes: int, generator: torch.Generator
) -> NeighborReport | None:
    """Consult the neighbours of the unlabelled rows among rows as they came, where neighbours are looked for so.

    Before the network has been trained: afterwards it would speak for itself.
    """
    if not network.compares_rows:
        return None
    unlabeled = np.flatnonzero(y < 0)
    chosen = np.ones(len(y), dtype=bool)
    if len(unlabeled) > _MOST_CONSULTED:
        chosen[unlabeled[torch.randperm(len(unlabeled), generator=generator).numpy()[_MOST_CONSULTED:]]] = False
    index = np.flatnonzero(chosen)
    if not network.learns_of_labels or np.count_nonzero(y >= 0) >= _MANY_LABELED:
        places, _ = compare_in_batches(network, rows, index)
        return consult_neighbors(lambda known: places, y[index], n_classes, generator)
    judge = copy.deepcopy(network)  # what it makes of some of the labels is not to stay

    def places_by(known: np.ndarray) -> np.ndarray:
        labels = np.full(len(y), -1)
        labels[index] = known
        judge.adapt_to_labels(rows, labels)
        return compare_in_batches(judge, rows, index)[0]

    return consult_neighbors(places_by, y[index], n_classes, generator)


def draw_folds(given: np.ndarray, n_folds: int, generator: torch.Generator) -> np.ndarray:
    """Deal the unlabelled rows out at random: masks (n_folds, n_samples), given labels in none."""
    unlabeled = np.flatnonzero(~given)
    if n_folds > 1:
        unlabeled = unlabeled[torch.randperm(len(unlabeled), generator=generator).numpy()]
    folds = np.zeros((n_folds, len(given)), dtype=bool)
    for k, fold in enumerate(folds):
        fold[unlabeled[k::n_folds]] = True
    return folds


class View(NamedTuple):
    """What one network sees in some of the rows."""

    index: np.ndarray  # (n,), of the rows
    embeddings: np.ndarray  # (n, d), what neighbours are looked for by
    logits: np.ndarray  # (n, n_classes)

    @classmethod
    def of(cls, network: EmbeddingNetwork, rows: Rows, chosen: np.ndarray) -> "View":
        index = np.flatnonzero(chosen)
        return cls(index, *compare_in_batches(network, rows, index))


def merge(views: Sequence[View], parts: Sequence[np.ndarray], n_rows: int) -> np.ndarray:
    """Put together, for all rows, what the parts say of each view's rows; what several speak of is left to the last."""
    if len(views) == 1:
        return parts[0]  # all rows in order: what has a column for each class is large, and needs no copy
    whole = np.empty((n_rows, *parts[0].shape[1:]), dtype=parts[0].dtype)
    for view, part in zip(views, parts, strict=True):
        whole[view.index] = part
    return whole


def propose(
    views: Sequence[View],
    y: np.ndarray,
    prior: np.ndarray,
    select: Callable[[np.ndarray, np.ndarray, np.ndarray], PseudoLabels],
) -> PseudoLabels:
    """Label the rows of each view: by embeddings, given labels, and what the network says under the prior.

    The probability of a class counts by what a right label of it is worth, so that the most probable one is the best.
    """
    log_worth = np.log(prior * worth_of_labels(prior, y), dtype=np.float32)
    parts = [select(view.embeddings, y[view.index], softmax(view.logits + log_worth)) for view in views]
    labels, weights, proba = zip(*parts, strict=True)
    return PseudoLabels(
        merge(views, labels, len(y)),
        merge(views, weights, len(y)),
        None if any(part is None for part in proba) else merge(views, proba, len(y)),
    )


def worth_of_labels(prior: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return what a right label of each class is worth, (n_classes,): itself, and what it adds to the class's recall.

    What labels are to achieve is many right ones and a high mean recall, both: the most right ones alone cost rare
    classes their few rows, and the highest mean recall alone spoils these classes by rows of frequent ones. One of a
    class's ``n`` rows is ``1 / n`` of its recall. Its rows are those labelled so in ``y`` (n_samples,), and its share
    ``prior`` of those that have no label, -1.
    """
    n_rows = np.bincount(y[y >= 0], minlength=len(prior)) + prior * np.count_nonzero(y < 0)
    return 1 + _WORTH_OF_RECALL / n_rows


def admit(proposed: PseudoLabels, y: np.ndarray, share: float) -> PseudoLabels:
    """Keep given labels, and of the proposed ones the most reliable ``share`` of each class.

    Quotas by class keep the rare classes in: among all rows together, the most reliable are those of frequent classes.

    Returns
    -------
    PseudoLabels
        Labels and weights of all rows: given labels weigh 1, and rows that are left out have label -1 and weight 0.
        Their probabilities, where some are proposed; a given label is certain.
    """
    candidates = np.flatnonzero((y < 0) & (proposed.labels >= 0))
    chosen = candidates[_most_reliable(proposed.labels[candidates], proposed.weights[candidates], share)]
    labels, weights, proba = y.copy(), (y >= 0).astype(np.float64), None
    labels[chosen], weights[chosen] = proposed.labels[chosen], proposed.weights[chosen]
    if proposed.proba is not None:
        proba = proposed.proba.astype(np.float32)  # a copy: the array is the selector's
        proba[y >= 0] = np.eye(proba.shape[1], dtype=np.float32)[y[y >= 0]]
    return PseudoLabels(labels, weights, proba)


def _most_reliable(labels: np.ndarray, weights: np.ndarray, share: float) -> np.ndarray:
    """Return the row numbers of the ``share`` of each class that has the largest weights."""
    order = np.lexsort((-weights, labels))
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    rank = np.arange(len(order)) - starts[labels[order]]  # 0 for the most reliable row of its class
    return order[rank < np.ceil(share * sizes[labels[order]])]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities (n, n_classes) of logits."""
    return torch.from_numpy(logits).softmax(dim=1).numpy()


def pseudo_share(logits: np.ndarray, y: np.ndarray, n_passes: float) -> float:
    """Return the largest share of pseudo-labels among the rows drawn: a half, and less before a network has learned.

    That it has is told by its logits (n, n_classes) on the rows labelled ``y``: what it has not learned of rows it is
    trained on, it cannot know of others. Or by how often it has seen each of them, as hard rows may never be learned.
    In a short training on images both are low, and given labels have more to teach than its own guesses.
    """
    sizes = np.bincount(y)
    recalls = np.bincount(y, weights=logits.argmax(axis=1) == y)[sizes > 0] / sizes[sizes > 0]
    maturity = min(1.0, max(recalls.mean() / _ENOUGH_RECALL, n_passes / _ENOUGH_PASSES))
    return _PSEUDO_SHARE * maturity**_MATURITY_POWER


def _limit_pseudo(weights: np.ndarray, given: np.ndarray, most: float) -> np.ndarray:
    """Lower the weights of pseudo-labels where they would make up more than the share ``most`` of the total."""
    pseudo, allowed = (1 - most) * weights[~given].sum(), most * given.sum()
    return np.where(given, weights, allowed / pseudo * weights) if pseudo > allowed else weights
