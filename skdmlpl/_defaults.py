"""What the estimator's None stands for, by the shape and the number of the rows: how many networks, how to train."""

from dataclasses import replace

import numpy as np
from sklearn.base import BaseEstimator

from skdmlpl._mlp import MANY_COLUMNS
from skdmlpl._rounds import Plan

__all__ = ["resolve_networks", "resolve_plans"]

# From so many unlabelled rows on, networks can teach each other from a part of them each.
_MANY_UNLABELED = 1000
# With so many labelled rows or more, a longer training made no difference.
_MANY_LABELED = 256
_LEARNING_RATE = 2e-3
# A later round starts from a trained network, and takes this share of the steps that its rows ask for.
_LATER_SHARE = 0.5
# So much of a labelled row an unlabelled one counts for then: few labels are soon known by heart, and the pseudo-labels
# of many other rows are not, but not all of them are right.
_UNLABELED_COUNT = 0.25


def resolve_networks(estimator: BaseEstimator, *, row_shape: tuple[int, ...], n_unlabeled: int) -> tuple[int, bool]:
    """Return how many networks judge each other's rows, and whether one more learns from the given labels alone."""
    if estimator.n_networks is not None:
        return estimator.n_networks, False
    if estimator.backbone is not None or len(row_shape) > 1 or estimator.max_rounds == 0 or n_unlabeled == 0:
        return 1, False
    # Rows of many columns are embeddings as a rule: their classes overlap less, and no pseudo-labels did them harm.
    return (2 if n_unlabeled >= _MANY_UNLABELED else 1), row_shape[0] < MANY_COLUMNS


def resolve_plans(
    estimator: BaseEstimator, *, row_shape: tuple[int, ...], n_labeled: int, n_unlabeled: int, n_rounds: int
) -> list[Plan]:
    """Take the numbers the caller gave, and fill in the rest; of several plans, held-out rows are to tell the best."""
    images, wide = len(row_shape) > 1, row_shape[0] >= MANY_COLUMNS
    if estimator.backbone is not None:
        steps, weight_decay = (500, 4000), 0.05
    elif images:
        # However few have a label, the network has to learn to see.
        steps, weight_decay = (1500, 4000), 1.0
    elif wide:
        # Rows this wide are embeddings or pixels as a rule: little is left to learn, and much to overfit.
        steps, weight_decay = (50, 400), 3.0
    else:
        steps, weight_decay = (50, 1200), 1.0

    def steps_for(n_rows):
        # In batches of 128, as many passes over the rows as there are of them, at most 256: the fewer there are, the
        # sooner a network knows them by heart, with the chance in them.
        return np.clip(n_rows * np.clip(n_rows / 128, 1, 2), *steps)

    def given_or(name, default):
        value = getattr(estimator, name)
        return default if value is None else value

    n_steps = int(given_or("n_steps", steps_for(n_labeled)))  # numpy's small integers overflow
    # Images train for long anyway, and a caller's own number is kept to.
    by_unlabeled = 0 if images or estimator.n_steps is not None else steps_for(_UNLABELED_COUNT * n_unlabeled)

    def later_steps(first):
        return max(1, round(_LATER_SHARE * max(first, by_unlabeled)))

    gentle = Plan(
        n_rounds=n_rounds,
        n_steps=n_steps,
        n_later_steps=later_steps(n_steps),
        batch_size=int(estimator.batch_size),
        learning_rate=given_or("learning_rate", _LEARNING_RATE),
        weight_decay=given_or("weight_decay", weight_decay),
        # Images are passed so often that a network would know their few given labels by heart.
        mixup_alpha=1.0 if images else 0.2,
        # Where few columns say how alike rows are, the metric loss helps most. Of embeddings it overfits, and images it
        # makes slow to learn.
        metric_weight=given_or("metric_weight", 0.01 if images or wide else 0.05),
    )
    given = (estimator.backbone, estimator.n_steps, estimator.learning_rate, estimator.weight_decay)
    if images or wide or n_labeled >= _MANY_LABELED or any(number is not None for number in given):
        return [gentle]
    # Classes that lie in rings or checks need a network that bends sharply, and one that does learns the noise where
    # they overlap: 76 % mean recall in place of 62 on checks, 66 in place of 70 on linear classes. No shape tells which
    # it is.
    more_steps = int(np.clip(4 * n_labeled, 200, 512))
    thorough = replace(
        gentle,
        n_steps=more_steps,
        n_later_steps=later_steps(more_steps),
        learning_rate=8 * gentle.learning_rate,
        weight_decay=2 * gentle.weight_decay,
    )
    return [gentle, thorough]
