"""How frequent each class is among the unlabelled rows, and how much their neighbours know of it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

from skdmlpl._folds import deal_out, testable_rows
from skdmlpl._label_spreading import neighbor_graph, spread_labels

__all__ = ["NeighborReport", "consult_neighbors", "estimate_prior"]

_N_ITER = 50
# Rows that each class is thought to have beside those that are there: so many times the mean doubt, as few rows that
# can hardly be told apart say little of how frequent a class is.
_ROWS_OF_DOUBT = 10.0
# Share of the estimate that is spread evenly: no class is given up for good because the network does not see it yet.
_FLOOR = 0.02

# How labels spread where rows are compared as they came.
_N_NEIGHBORS = 10
_SPREADING = {"alpha": 0.9, "n_iter": 30}
# What the votes mean is learned from so many labelled rows at most, held out in turn.
_N_FOLDS = 5
_MOST_HELD_OUT = 10_000
# Few held-out rows say little: either number is taken from a normal distribution of standard deviation 1/2 about 0,
# where votes mean what they say, unless they say otherwise. This is half of its precision.
_STRICTNESS = 2.0
# Votes on other rows drift further than on those that their scaling was learned from.
_OPTIMISM = 2.0


def estimate_prior(likelihood: np.ndarray, labeled: np.ndarray, *, spurious_gain: float = 0.0) -> np.ndarray:
    """Estimate the class distribution of rows from the probabilities they would have if classes were equally frequent.

    Either they follow the labelled rows' distribution, or one of their own. The latter is found by expectation
    maximisation: the probabilities are weighted with the distribution and averaged to the next one, which increases the
    likelihood of the rows [1]_. One of their own always fits better, which means little where rows are few, classes
    alike or probabilities wrong. So the estimate is a mean of the two, weighted by how credible either is in the light
    of the rows, by the Bayesian information criterion [2]_.

    Parameters
    ----------
    likelihood : ndarray of shape (n_samples, n_classes), float
        Probabilities under equal class frequencies, at least one row.

    labeled : ndarray of shape (n_classes,), float
        Class distribution of the labelled rows, positive.

    spurious_gain : float, default=0
        How much larger the log-likelihood of a row is expected to be under a distribution of their own if they follow
        that of the labelled rows: what probabilities that are wrong bring about by themselves.

    Returns
    -------
    ndarray of shape (n_classes,), float64
        Positive, sums to 1.

    References
    ----------
    .. [1] Saerens, Latinne, Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities",
       Neural Computation 14 (2002), :doi:`10.1162/089976602753284446`.
    .. [2] Kass, Raftery, "Bayes factors", Journal of the American Statistical Association 90 (1995),
       :doi:`10.1080/01621459.1995.10476572`.
    """
    n_samples, n_classes = likelihood.shape
    own = _likeliest_prior(likelihood)
    expected = n_samples * spurious_gain + (n_classes - 1) / 2 * np.log(n_samples)
    credence = expit(_log_ratio(likelihood, own, labeled) - expected)
    return credence * own + (1 - credence) * labeled


def _likeliest_prior(likelihood: np.ndarray) -> np.ndarray:
    """Return the class distribution (n_classes,) that makes rows likely, by expectation maximisation."""
    n_samples, n_classes = likelihood.shape
    prior = np.full(n_classes, 1 / n_classes)
    for _ in range(_N_ITER):
        posterior = likelihood * prior
        posterior /= posterior.sum(axis=1, keepdims=True)
        extra = _ROWS_OF_DOUBT * (1 - posterior.max(axis=1).mean())
        prior = (posterior.sum(axis=0) + extra) / (n_samples + extra * n_classes)
        prior = (1 - _FLOOR) * prior + _FLOOR / n_classes
    return prior


def _log_ratio(likelihood: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Return the logarithm of how much likelier rows (n, n_classes) are under one class distribution than another."""
    return float((np.log(likelihood @ first) - np.log(likelihood @ second)).sum())


class NeighborReport(NamedTuple):
    """What the labelled rows near the unlabelled ones tell of these."""

    prior: np.ndarray  # (n_classes,), float64, positive, sums to 1: their class distribution
    trust: float  # in [0, 1], how far neighbours' votes are to be trusted where a network has a say too


def consult_neighbors(
    places: Callable[[np.ndarray], np.ndarray], y: np.ndarray, n_classes: int, generator: torch.Generator
) -> NeighborReport:
    """Estimate by the labelled rows near them how frequent each class is among the unlabelled rows.

    Labels spread over the graph of nearest neighbours. How much the votes that a row gets are worth, labelled rows tell
    that are held out in turn: their votes are scaled to be likely [1]_, and :func:`estimate_prior` starts from these.
    With votes that mean what they say it is right where a network's probabilities, too sure of themselves and hardly
    ever those of the rare classes, would have it drift [2]_. How far they drift all the same, the rows held out tell
    too, as their distribution is known.

    Where rows are alike by much that has nothing to do with their class, votes are sure and often wrong, and have to be
    flattened. ``trust``, by which they count beside the probabilities of a network, is then the square of what they are
    flattened by: that is told with caution, by few rows, and of what the votes say the network knows a part.

    Parameters
    ----------
    places : callable
        From labels (n_samples,), of which some are hidden by -1, to what the rows' neighbours are looked for by,
        (n_samples, d), float32, of which the direction counts. It must have learned nothing of the labels but these:
        rows held out would lie with their like, and votes on them look better than on others. If it learns of none, it
        should return one array, which neighbours are then looked for in only once.

    y : ndarray of shape (n_samples,), int
        Class indices, -1 on unlabelled rows, of which there must be some.

    n_classes : int
        Number of classes.

    generator : torch.Generator
        Deals out the labelled rows.

    References
    ----------
    .. [1] Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, :arxiv:`1706.04599`.
    .. [2] Alexandari, Kundaje, Shrikumar, "Maximum likelihood with bias-corrected calibration is hard-to-beat at label
       shift adaptation", ICML 2020, :arxiv:`1901.06852`.
    """
    searched, graph = None, None

    def votes_of(known: np.ndarray) -> np.ndarray:
        nonlocal searched, graph
        at = places(known)
        if at is not searched:
            searched, graph = at, neighbor_graph(at, _N_NEIGHBORS)
        return spread_labels(graph, known, n_classes, **_SPREADING)

    sizes = np.bincount(y[y >= 0], minlength=n_classes)
    rows = testable_rows(y)
    rows = rows[torch.randperm(len(rows), generator=generator).numpy()][:_MOST_HELD_OUT]
    scaling, spurious_gain = _Scaling(), 0.0
    if len(rows) >= _N_FOLDS:
        folds = deal_out(rows, y, _N_FOLDS)
        held_out = [np.flatnonzero(folds == number) for number in range(_N_FOLDS)]
        tries = [votes_of(np.where(folds == number, -1, y))[out] for number, out in enumerate(held_out)]
        votes, truth = np.concatenate(tries), y[np.concatenate(held_out)]
        scaling = _Scaling.fit(votes, truth, sizes)
        likelihood = softmax(scaling(votes, sizes), axis=1)
        known = np.bincount(truth, minlength=n_classes) / len(truth)
        gain = _log_ratio(likelihood, _likeliest_prior(likelihood), known) / len(truth)
        spurious_gain = _OPTIMISM * max(0.0, gain)
    votes = votes_of(y)[y < 0]
    likelihood = softmax(scaling(votes, sizes), axis=1)
    prior = estimate_prior(likelihood, sizes / sizes.sum(), spurious_gain=spurious_gain)
    return NeighborReport(prior, trust=min(1.0, scaling.sharpness) ** 2)


class _Scaling(NamedTuple):
    """Turns shares of votes into logits, with two numbers for all classes: a class may have too few rows for its own.

    How sharp votes are is the temperature of [1]_. Votes on a class also grow or shrink with the number of its rows.
    """

    log_sharpness: float = 0.0
    size_exponent: float = 0.0

    @property
    def sharpness(self) -> float:
        return float(np.exp(self.log_sharpness))

    def __call__(self, votes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Return logits (n, n_classes) of votes on classes with ``sizes`` labelled rows."""
        return self.sharpness * np.log(votes, dtype=np.float64) + self.size_exponent * np.log(sizes)

    @classmethod
    def fit(cls, votes: np.ndarray, y: np.ndarray, sizes: np.ndarray) -> "_Scaling":
        """Make held-out rows labelled ``y`` likely by their votes (n, n_classes), each class counting the same."""
        counts = np.bincount(y, minlength=len(sizes))
        told = counts > 0  # a class that nothing is held out of cannot be right, and would only look wrong
        weights = 1 / (told.sum() * counts[y])
        log_votes, log_sizes = np.log(votes[:, told], dtype=np.float64), np.log(sizes[told])
        truth = np.eye(len(sizes))[y][:, told]

        def loss(numbers: np.ndarray) -> tuple[float, np.ndarray]:
            sharp = np.exp(numbers[0]) * log_votes
            log_proba = log_softmax(sharp + numbers[1] * log_sizes, axis=1)
            error = weights[:, None] * (np.exp(log_proba) - truth)
            slope = np.array([(error * sharp).sum(), (error @ log_sizes).sum()])
            strictness = _STRICTNESS / len(y)
            total = strictness * (numbers @ numbers) - weights @ (truth * log_proba).sum(axis=1)
            return total, slope + 2 * strictness * numbers

        return cls(*minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-3, 3)] * 2).x.tolist())
