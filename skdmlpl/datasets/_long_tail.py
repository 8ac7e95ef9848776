"""Long-tailed splits for semi-supervised learning."""

import math
from numbers import Integral, Real
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state, check_scalar, column_or_1d

__all__ = ["LongTailedSplit", "long_tail_counts", "make_long_tailed_split"]

UNLABELED_DISTRIBUTIONS = ("consistent", "uniform", "reversed")


class LongTailedSplit(NamedTuple):
    """Row numbers of the three parts of a split; ascending, and no row is in two parts.

    Attributes
    ----------
    labeled : ndarray of shape (n_labeled_rows,), int
        Rows whose label may be used.
    unlabeled : ndarray of shape (n_unlabeled_rows,), int
        Rows whose label is to be hidden.
    test : ndarray of shape (n_classes * n_test_per_class,), int
        Held-out rows, the same number of each class.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmlpl.datasets import make_long_tailed_split
    >>> y = np.arange(60) % 2
    >>> split = make_long_tailed_split(
    ...     y, n_labeled=4, n_unlabeled=8, imbalance_ratio=2, n_test_per_class=5, random_state=0
    ... )
    >>> np.bincount(y[split.labeled]), np.bincount(y[split.unlabeled]), np.bincount(y[split.test])
    (array([4, 2]), array([8, 4]), array([5, 5]))
    """

    labeled: np.ndarray
    unlabeled: np.ndarray
    test: np.ndarray


def long_tail_counts(n_max: int, imbalance_ratio: float, n_classes: int) -> np.ndarray:
    """Class sizes that fall exponentially from the first class to the last.

    Class ``c`` of ``C`` (counted from 1) has ``int(n_max * imbalance_ratio ** (-(c - 1) / (C - 1)))`` rows, and at
    least one.

    Parameters
    ----------
    n_max : int
        Rows of the first and largest class.
    imbalance_ratio : float
        How many times larger the first class is than the last; 1 gives equal sizes.
    n_classes : int
        Number of classes.

    Returns
    -------
    counts : ndarray of shape (n_classes,), int
        Rows of each class, largest first.

    Raises
    ------
    ValueError
        If `n_max` or `n_classes` is below 1, or `imbalance_ratio` is below 1 or not finite.
    TypeError
        If `n_max` or `n_classes` is no integer, or `imbalance_ratio` is no number.

    Examples
    --------
    >>> from skdmlpl.datasets import long_tail_counts
    >>> long_tail_counts(1500, 100, 10)
    array([1500,  899,  539,  323,  193,  116,   69,   41,   25,   15])
    """
    check_scalar(n_max, "n_max", Integral, min_val=1)
    check_scalar(n_classes, "n_classes", Integral, min_val=1)
    check_scalar(imbalance_ratio, "imbalance_ratio", Real, min_val=1)
    if not math.isfinite(imbalance_ratio):
        raise ValueError(f"imbalance_ratio == {imbalance_ratio}, must be finite.")
    exponents = -np.arange(n_classes) / max(n_classes - 1, 1)
    counts = n_max * float(imbalance_ratio) ** exponents
    # A product that is a whole number in exact arithmetic may come out a rounding error below it.
    return np.maximum(np.floor(counts * (1 + 1e-12)).astype(int), 1)


def make_long_tailed_split(
    y: ArrayLike,
    n_labeled: int,
    n_unlabeled: int,
    imbalance_ratio: float,
    *,
    imbalance_ratio_unlabeled: float | None = None,
    unlabeled_distribution: Literal["consistent", "uniform", "reversed"] = "consistent",
    n_test_per_class: int = 0,
    on_shortage: Literal["raise", "truncate"] = "raise",
    random_state: int | np.random.RandomState | None = None,
) -> LongTailedSplit:
    """Draw a long-tailed labelled part and an unlabelled part from a labelled data set.

    The protocol is that of [1]_: the sizes of the classes fall exponentially, see :func:`long_tail_counts`. The
    classes are taken in the order of ``np.unique(y)``; the first is the largest. In each class the test rows are drawn
    first, then the labelled ones, then the unlabelled ones, so for one `random_state` the test and the labelled rows
    are the same for every distribution of the unlabelled ones.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels of all rows: numbers or strings, each of them known.
    n_labeled : int
        Labelled rows of the largest class.
    n_unlabeled : int
        Unlabelled rows of the largest class.
    imbalance_ratio : float
        Labelled rows of the largest class over those of the smallest.
    imbalance_ratio_unlabeled : float, default=None
        The same for the unlabelled rows. None takes `imbalance_ratio`. Not used for ``"uniform"``.
    unlabeled_distribution : {"consistent", "uniform", "reversed"}, default="consistent"
        Class sizes of the unlabelled part: in the same order as the labelled ones, `n_unlabeled` of every class, or
        with the last class the largest.
    n_test_per_class : int, default=0
        Rows of each class kept for testing.
    on_shortage : {"raise", "truncate"}, default="raise"
        What to do about a class with too few rows for its labelled and unlabelled parts: raise an error, or give the
        labelled part as many as there are and the unlabelled part what is left. The test part is never cut short,
        and every class gets at least one labelled row, otherwise an error is raised in either case.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw; an int gives the same split at each call.

    Returns
    -------
    LongTailedSplit
        Named tuple of three index arrays, ``labeled``, ``unlabeled`` and ``test``.

    Raises
    ------
    ValueError
        If a parameter is out of its range, `y` marks rows as unlabelled, or a class has too few rows; the message names
        the class, what it has and what it needs.
    TypeError
        If a parameter is not of the type it must be.

    References
    ----------
    .. [1] Y. Oh, D.-J. Kim, I. S. Kweon, "DASO: Distribution-Aware Semantics-Oriented Pseudo-label for Imbalanced
       Semi-Supervised Learning", CVPR 2022, :arxiv:`2106.05682`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skdmlpl.datasets import make_long_tailed_split
    >>> X, y = load_digits(return_X_y=True)
    >>> split = make_long_tailed_split(y, 40, 80, 20, n_test_per_class=40, random_state=0)
    >>> np.bincount(y[split.labeled])
    array([40, 28, 20, 14, 10,  7,  5,  3,  2,  2])
    >>> np.bincount(y[split.unlabeled])
    array([80, 57, 41, 29, 21, 15, 10,  7,  5,  4])
    """
    choices = {
        "unlabeled_distribution": (unlabeled_distribution, UNLABELED_DISTRIBUTIONS),
        "on_shortage": (on_shortage, ("raise", "truncate")),
    }
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            raise ValueError(
                f"The {name!r} parameter of make_long_tailed_split must be one of {', '.join(allowed)}. "
                f"Got {value!r} instead."
            )
    check_scalar(n_labeled, "n_labeled", Integral, min_val=1)
    check_scalar(n_unlabeled, "n_unlabeled", Integral, min_val=1)
    check_scalar(n_test_per_class, "n_test_per_class", Integral, min_val=0)
    check_scalar(imbalance_ratio, "imbalance_ratio", Real, min_val=1)
    if imbalance_ratio_unlabeled is None:
        imbalance_ratio_unlabeled = imbalance_ratio
    check_scalar(imbalance_ratio_unlabeled, "imbalance_ratio_unlabeled", Real, min_val=1)
    rng = check_random_state(random_state)
    classes, y_index = _number_classes(y)

    labeled_counts = long_tail_counts(n_labeled, imbalance_ratio, len(classes))
    unlabeled_ratio = 1 if unlabeled_distribution == "uniform" else imbalance_ratio_unlabeled
    unlabeled_counts = long_tail_counts(n_unlabeled, unlabeled_ratio, len(classes))
    if unlabeled_distribution == "reversed":
        unlabeled_counts = unlabeled_counts[::-1]

    labeled, unlabeled, test = [], [], []
    for c, label in enumerate(classes):
        rows = rng.permutation(np.flatnonzero(y_index == c))
        stop_labeled = n_test_per_class + labeled_counts[c]
        stop = stop_labeled + unlabeled_counts[c]
        needed = stop if on_shortage == "raise" else n_test_per_class + 1
        if len(rows) < needed:
            parts = f"{n_test_per_class} test, {labeled_counts[c]} labelled and {unlabeled_counts[c]} unlabelled rows"
            if on_shortage == "truncate":
                parts = f"{n_test_per_class} test rows and one labelled row"
            raise ValueError(f"Class {label!s} has {len(rows)} rows, but needs {needed}: {parts}.")
        test.append(rows[:n_test_per_class])
        labeled.append(rows[n_test_per_class:stop_labeled])
        unlabeled.append(rows[stop_labeled:stop])
    return LongTailedSplit(*(np.sort(np.concatenate(part)) for part in (labeled, unlabeled, test)))


def _number_classes(y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes, sorted, and the number of each row's class; raise where a row has none."""
    must = "y must hold the class of every row, all numbers or all strings"
    try:
        classes, y_index = np.unique(column_or_1d(y), return_inverse=True)
    except TypeError as error:  # None among strings, say
        raise ValueError(f"{must}. Leave out rows without one: {error}") from error
    if classes.dtype.kind in "if" and set(classes.tolist()) != {-1, 1}:
        marked = (classes == -1) | np.isnan(classes)
        if marked.any():
            raise ValueError(
                f"{must}. Got {classes[marked][0]}, which marks unlabelled rows, for {marked[y_index].sum()} of "
                f"{len(y_index)}: leave them out."
            )
    return classes, y_index
