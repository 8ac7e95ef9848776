"""How frequent each class is among the unlabelled rows."""

import numpy as np

__all__ = ["estimate_prior"]

_N_ITER = 50
# Share of the estimate that is spread evenly: no class is given up for good because the network does not see it yet.
_FLOOR = 0.02


def estimate_prior(likelihood: np.ndarray, labeled: np.ndarray) -> np.ndarray:
    """Estimate the class distribution of rows from the probabilities they would have if classes were equally frequent.

    Expectation maximisation: the probabilities are weighted with the distribution and averaged to the next one, which
    increases the likelihood of the rows [1]_. It counts on probabilities that mean what they say. Those of a network
    that can hardly tell the classes apart do not, and the estimate would drift to a few classes. So each step goes back
    some way to the labelled rows' distribution, by the fourth power of the rows' mean doubt: next to nothing where most
    rows are told apart, whatever their distribution, and a good part of the way where few are.

    Parameters
    ----------
    likelihood : ndarray of shape (n_samples, n_classes), float
        Probabilities under equal class frequencies, at least one row.

    labeled : ndarray of shape (n_classes,), float
        Class distribution of the labelled rows.

    Returns
    -------
    ndarray of shape (n_classes,), float64
        Positive, sums to 1.

    References
    ----------
    .. [1] Saerens, Latinne, Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities",
       Neural Computation 14 (2002), :doi:`10.1162/089976602753284446`.
    """
    n_classes = likelihood.shape[1]
    prior = np.full(n_classes, 1 / n_classes)
    for _ in range(_N_ITER):
        posterior = likelihood * prior
        posterior /= posterior.sum(axis=1, keepdims=True)
        doubt = (1 - posterior.max(axis=1).mean()) ** 4
        prior = (1 - doubt) * posterior.mean(axis=0) + doubt * labeled
        prior = (1 - _FLOOR) * prior + _FLOOR / n_classes
    return prior
