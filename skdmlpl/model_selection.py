"""Cross-validation and searches where some rows have no label.

Unlabelled rows are marked in ``y``, as ``fit`` takes them; the splitters put them into every training fold and into no
test fold, so that they are always trained on and never scored.
"""

import warnings
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit, ShuffleSplit
from sklearn.utils import check_array, check_random_state

from skdmlpl._folds import deal_out, testable_rows
from skdmlpl._labels import decode_labels, encode_labels
from skdmlpl._validation import check_same_columns, check_same_kind_of_rows, has_no_rows

__all__ = ["LabeledStratifiedKFold", "LabeledStratifiedShuffleSplit", "split_unlabeled", "stack_unlabeled"]

# Names beyond these would not help, and a hundred rare classes are not unusual.
_MAX_NAMED_CLASSES = 10


class _LabeledSplitterMixin:
    """What both splitters say of ``split``."""

    def split(self, X, y, groups=None):
        """Yield the row numbers of each split.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The rows. Only their number is looked at.

        y : array-like of shape (n_samples,)
            Labels, with unlabelled rows marked as for :meth:`DMLPseudoLabelClassifier.fit
            <skdmlpl.DMLPseudoLabelClassifier.fit>`: -1 where labels are numbers, None or NaN in any case.

        groups : object, default=None
            Ignored, with a warning; exists because scikit-learn's splitters have it.

        Yields
        ------
        train : ndarray of shape (n_train,), int
            Labelled rows and all unlabelled rows, ascending. Every class has at least one row.

        test : ndarray of shape (n_test,), int
            Labelled rows, ascending.

        Raises
        ------
        ValueError
            If `y` labels fewer than two classes or does not fit `X`, or if there are too few labelled rows.
        TypeError
            If the labels are of different types.

        Warns
        -----
        UserWarning
            If a class has a single labelled row, which is never tested, if `groups` is given, or if `y` is an array of
            objects that holds numbers or booleans.
        """
        if groups is not None:
            warnings.warn(f"The groups parameter is ignored by {type(self).__name__}.", UserWarning, stacklevel=2)
        if getattr(y, "dtype", None) == np.dtype(object) and encode_labels(y, len(y)).classes.dtype.kind in "biuf":
            warnings.warn(
                "y is an array of objects that holds numbers, which scikit-learn's scorers refuse. "
                "skdmlpl.model_selection.stack_unlabeled(X, y) makes one of numbers of it, with -1 on unlabelled rows.",
                UserWarning,
                stacklevel=2,
            )
        return super().split(X, y, groups)


class LabeledStratifiedKFold(_LabeledSplitterMixin, BaseCrossValidator):
    """K folds of the labelled rows, stratified; unlabelled rows are in every training fold.

    To be used as ``cv=`` where ``y`` marks unlabelled rows. Each fold tests about the same share of each class. A class
    with fewer rows than there are folds is tested in as many folds as it has rows. A class with a single labelled row
    is never tested: that row is in every training fold, since without it the class could not be learned.

    Each labelled row is thus tested once, but for those of single-row classes, and every training fold has rows of
    every class. The sizes of the test folds differ by one at most, as do the numbers of each class's rows in them.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.

    shuffle : bool, default=False
        Whether rows are dealt to the folds at random. If not, the rows of a class go to the folds in the order of the
        data, and if no class has fewer than `n_splits` rows, the labelled rows are split as by
        :class:`sklearn.model_selection.StratifiedKFold`.

    random_state : int, RandomState instance or None, default=None
        Seeds the shuffling; an int gives the same folds at each call. To be left None unless `shuffle`.

    Raises
    ------
    ValueError
        If `n_splits` is no integer of at least 2, or `random_state` is given without `shuffle`.
    TypeError
        If `shuffle` is not a bool.

    See Also
    --------
    LabeledStratifiedShuffleSplit : Random splits, whose test sets may overlap.
    stack_unlabeled : Puts labelled and unlabelled rows into one `X` and one `y`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmlpl.model_selection import LabeledStratifiedKFold
    >>> y = np.array([0, 0, 0, 0, 1, 1, -1, -1])
    >>> for train, test in LabeledStratifiedKFold(n_splits=2).split(np.zeros((8, 3)), y):
    ...     print(train, test)
    [2 3 5 6 7] [0 1 4]
    [0 1 4 6 7] [2 3 5]
    """

    def __init__(self, n_splits=5, *, shuffle=False, random_state=None):
        name = type(self).__name__
        _check_n_splits(name, n_splits, at_least=2)
        if not isinstance(shuffle, bool):
            raise TypeError(f"The 'shuffle' parameter of {name} must be True or False. Got {shuffle!r} instead.")
        if random_state is not None and not shuffle:
            raise ValueError(
                f"The 'random_state' parameter of {name} must be None where 'shuffle' is False: nothing is drawn. "
                f"Got {random_state!r} instead."
            )
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : object, default=None
            Ignored.

        Returns
        -------
        int
            `n_splits`.
        """
        return self.n_splits

    # The hook that scikit-learn's base class documents for implementations: the rest of the rows are trained on.
    def _iter_test_masks(self, X=None, y=None, groups=None):
        folds = self._deal(_encode(y))
        for fold in range(self.n_splits):
            yield folds == fold

    def _deal(self, codes: np.ndarray) -> np.ndarray:
        """Return the fold (n_samples,) that tests each row, -1 where none does."""
        tested = testable_rows(codes)
        if len(tested) < self.n_splits:
            raise ValueError(
                f"y must have at least one row to test for each of the {self.n_splits} folds: labelled rows of classes "
                f"that have two or more. Got {len(tested)}; lower 'n_splits' or label more rows."
            )
        if self.shuffle:
            tested = check_random_state(self.random_state).permutation(tested)
        return deal_out(tested, codes, self.n_splits)


class LabeledStratifiedShuffleSplit(_LabeledSplitterMixin, BaseShuffleSplit):
    """Random splits of the labelled rows, stratified; unlabelled rows are in every training set.

    To be used as ``cv=`` where ``y`` marks unlabelled rows, or for a single held-out set. Sizes count labelled rows.
    The rows to test are shared out in proportion to the classes' sizes. A share of 2.3 rows is rounded to 2 rows in
    70 % of the splits and to 3 in 30 %, so that classes too small to be tested in every split are tested in some of
    them, and the test set has exactly the size asked for. Every training set keeps at least one row of every class; a
    class with a single labelled row is never tested.

    Parameters
    ----------
    n_splits : int, default=10
        Number of splits, at least 1.

    test_size : float, int or None, default=None
        Share (below 1) or number of the labelled rows that are tested. None takes what `train_size` leaves, or 0.1.

    train_size : float, int or None, default=None
        Share (below 1) or number of the labelled rows that are trained on. None takes what `test_size` leaves.

    random_state : int, RandomState instance or None, default=None
        Seeds the draws; an int gives the same splits at each call.

    Raises
    ------
    ValueError
        If `n_splits` is no integer of at least 1. Sizes that do not fit the labelled rows raise in `split`.

    See Also
    --------
    LabeledStratifiedKFold : Tests each labelled row once.

    Examples
    --------
    Hold out a fifth of the labelled rows; the unlabelled ones stay for training:

    >>> import numpy as np
    >>> from skdmlpl.model_selection import LabeledStratifiedShuffleSplit
    >>> y = np.array([0] * 20 + [1] * 10 + [-1] * 50)
    >>> splitter = LabeledStratifiedShuffleSplit(n_splits=1, test_size=0.2, random_state=0)
    >>> train, test = next(splitter.split(np.zeros((80, 3)), y))
    >>> np.unique(y[test], return_counts=True)
    (array([0, 1]), array([4, 2]))
    >>> np.unique(y[train], return_counts=True)
    (array([-1,  0,  1]), array([50, 16,  8]))
    """

    def __init__(self, n_splits=10, *, test_size=None, train_size=None, random_state=None):
        _check_n_splits(type(self).__name__, n_splits, at_least=1)
        super().__init__(n_splits, test_size=test_size, train_size=train_size, random_state=random_state)

    # The hook of scikit-learn's base class.
    def _iter_indices(self, X, y=None, groups=None):
        codes = _encode(y)
        labeled, unlabeled = np.flatnonzero(codes >= 0), np.flatnonzero(codes < 0)
        sizes = np.bincount(codes[labeled])
        n_train, n_test = self._numbers_of_rows(sizes)
        rng = check_random_state(self.random_state)
        for _ in range(self.n_splits):
            test_sizes = _share_out(n_test, sizes, at_least=0, at_most=sizes - 1, rng=rng)
            rest = sizes - test_sizes
            train_sizes = _share_out(n_train, rest, at_least=1, at_most=rest, rng=rng)

            rows = rng.permutation(labeled)
            rows = rows[np.argsort(codes[rows], kind="stable")]
            stop_test = (np.cumsum(sizes) - sizes + test_sizes)[codes[rows]]  # positions in `rows`
            position = np.arange(len(rows))
            test = rows[position < stop_test]
            train = rows[(position >= stop_test) & (position < stop_test + train_sizes[codes[rows]])]
            yield np.sort(np.concatenate([train, unlabeled])), np.sort(test)

    def _numbers_of_rows(self, sizes: np.ndarray) -> tuple[int, int]:
        """Return the labelled rows of a training and of a test set."""
        sized = ShuffleSplit(1, test_size=self.test_size, train_size=self.train_size, random_state=0)
        try:
            train, test = next(sized.split(np.empty(sizes.sum())))
        except ValueError as error:
            raise ValueError(
                f"The sizes of {type(self).__name__} must fit the {sizes.sum()} labelled rows. {error}"
            ) from error
        spare = sizes.sum() - len(sizes)
        if len(test) > spare:
            raise ValueError(
                f"The 'test_size' parameter of {type(self).__name__} must leave a labelled row of each class for "
                f"training, so at most {spare} of {sizes.sum()} labelled rows can be tested. Got {self.test_size!r} "
                f"instead, which is {len(test)} rows."
            )
        if len(train) < len(sizes):
            raise ValueError(
                f"The 'train_size' parameter of {type(self).__name__} must give each of the {len(sizes)} classes a "
                f"row. Got {self.train_size!r} instead, which is {len(train)} rows."
            )
        return len(train), len(test)


def stack_unlabeled(X, y: ArrayLike, X_unlabeled=None):
    """Put labelled and unlabelled rows into one `X` and one `y`, which marks the unlabelled ones.

    In that form the rows go through pipelines, searches and cross-validation together, and scikit-learn cannot cut the
    unlabelled ones by mistake. :class:`LabeledStratifiedKFold` keeps them out of the test folds. Also gives a `y`
    that holds None or NaN the form that scikit-learn's scorers take (without `X_unlabeled`).

    Parameters
    ----------
    X : array-like of shape (n_samples, ...) or DataFrame
        Rows of a table, or images.

    y : array-like of shape (n_samples,)
        Their labels: numbers, strings or booleans. Rows that are marked as unlabelled here remain so, see
        :meth:`DMLPseudoLabelClassifier.fit <skdmlpl.DMLPseudoLabelClassifier.fit>`.

    X_unlabeled : array-like of shape (n_unlabeled, ...), DataFrame or None, default=None
        Unlabelled rows like those of `X`.

    Returns
    -------
    X : ndarray of shape (n_samples + n_unlabeled, ...) or DataFrame
        The rows of `X`, then those of `X_unlabeled`. A DataFrame where `X` is one, with the index it had. This is a
        new array in memory, also of memory maps, unless there is nothing to add.

    y : ndarray of shape (n_samples + n_unlabeled,)
        The labels. Unlabelled rows are -1 where labels are numbers; None, in an array of objects, where they are
        strings. Booleans become 0 and 1, as there is no array of booleans with a mark that scikit-learn's scorers take.
        If the classes are the numbers -1 and 1, the mark is NaN. Without unlabelled rows labels are as they were.

    Raises
    ------
    ValueError
        If the rows differ in shape or column names, only one part holds uint8 images, or `y` does not fit `X` or labels
        fewer than two classes.
    TypeError
        If an argument is sparse, or the labels are of different types.

    See Also
    --------
    split_unlabeled : The inverse.

    Examples
    --------
    >>> from skdmlpl.model_selection import stack_unlabeled
    >>> X, y = stack_unlabeled([[0.0], [1.0]], [3, 5], [[2.0], [4.0]])
    >>> X.ravel()
    array([0., 1., 2., 4.])
    >>> y
    array([ 3,  5, -1, -1])
    >>> stack_unlabeled([[0.0], [1.0]], ["no", "yes"], [[2.0]])[1]
    array(['no', 'yes', None], dtype=object)
    """
    names = getattr(X, "columns", None)
    X = _as_rows(X, "X")
    classes, codes = encode_labels(y, len(X))
    if not has_no_rows(X_unlabeled):
        check_same_columns(names, X_unlabeled)
        X = _concatenate(X, X_unlabeled)
        codes = np.concatenate([codes, np.full(len(X) - len(codes), -1)])
    return X, _mark(classes, codes)


def split_unlabeled(X, y: ArrayLike):
    """Take labelled and unlabelled rows apart: the inverse of :func:`stack_unlabeled`.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...) or DataFrame
        All rows.

    y : array-like of shape (n_samples,)
        Their labels, with unlabelled rows marked as for :meth:`DMLPseudoLabelClassifier.fit
        <skdmlpl.DMLPseudoLabelClassifier.fit>`.

    Returns
    -------
    X_labeled : ndarray of shape (n_labeled, ...) or DataFrame
        The rows that have a label, in their order; a copy.

    y_labeled : ndarray of shape (n_labeled,)
        Their labels: numbers, strings or booleans, not objects.

    X_unlabeled : ndarray of shape (n_samples - n_labeled, ...) or DataFrame
        The other rows, in their order; a copy.

    Raises
    ------
    ValueError
        If `y` does not fit `X` or labels fewer than two classes.
    TypeError
        If `X` is sparse, or the labels are of different types.

    See Also
    --------
    stack_unlabeled : The inverse.

    Examples
    --------
    >>> from skdmlpl.model_selection import split_unlabeled
    >>> X_labeled, y_labeled, X_unlabeled = split_unlabeled([[0.0], [1.0], [2.0]], ["no", None, "yes"])
    >>> y_labeled
    array(['no', 'yes'], dtype='<U3')
    >>> X_unlabeled
    array([[1.]])
    """
    X = _as_rows(X, "X")
    classes, codes = encode_labels(y, len(X))
    labeled = codes >= 0
    rows = getattr(X, "iloc", X)
    return rows[labeled], classes[codes[labeled]], rows[~labeled]


def _check_n_splits(name: str, n_splits, at_least: int) -> None:
    if not isinstance(n_splits, Integral) or isinstance(n_splits, bool) or n_splits < at_least:
        raise ValueError(
            f"The 'n_splits' parameter of {name} must be an integer of at least {at_least}. Got {n_splits!r} instead."
        )


def _encode(y) -> np.ndarray:
    """Return class indices (n_samples,), -1 on unlabelled rows; warn of classes that cannot be tested."""
    if y is None:
        raise ValueError("y must be given to split: it tells labelled rows from unlabelled ones. Got None instead.")
    classes, codes = encode_labels(y, len(y))
    single = classes[np.bincount(codes[codes >= 0]) == 1].tolist()
    if single:
        names = [*map(repr, single[:_MAX_NAMED_CLASSES]), *["..."] * (len(single) > _MAX_NAMED_CLASSES)]
        warnings.warn(
            f"{len(single)} of {len(classes)} classes have a single labelled row ({', '.join(names)}). These rows are "
            "always trained on and never tested, so scores say nothing of these classes.",
            UserWarning,
            stacklevel=2,
        )
    return codes


def _share_out(total: int, sizes: np.ndarray, *, at_least, at_most, rng: np.random.RandomState) -> np.ndarray:
    """Share ``total`` rows out to the classes in proportion to their sizes, within limits (n_classes,), as integers.

    The shares are rounded at random, by systematic sampling: up or down to the next integer, and right on average.
    """
    # The limits take rows from some classes or force rows on them; the factor makes up for it in the others.
    factor = brentq(lambda f: np.clip(f * sizes, at_least, at_most).sum() - total, 0, 1)
    shares = np.clip(factor * sizes, at_least, at_most)
    counts = np.floor(shares).astype(int)
    n_up = total - counts.sum()
    if n_up > 0:
        order = rng.permutation(len(sizes))
        steps = np.cumsum((shares - counts)[order])
        # Points one apart on a line of length n_up: a class that covers less than one gets a row or none.
        points = (rng.uniform() + np.arange(n_up)) * (steps[-1] / n_up)
        counts[order[np.searchsorted(steps, points, side="right")]] += 1
    return counts


def _as_rows(X, name: str):
    """Return X as an array, or as it is if it is a DataFrame; of any dtype, as a pipeline may begin with any."""
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        return X
    return check_array(
        X,
        dtype=None,
        ensure_all_finite=False,
        ensure_2d=False,
        allow_nd=True,
        ensure_min_samples=0,
        ensure_min_features=0,
        input_name=name,
    )


def _concatenate(X, X_unlabeled):
    """Return the rows of both, as what X is."""
    rows = _as_rows(X_unlabeled, "X_unlabeled")
    check_same_kind_of_rows(X, rows)
    if isinstance(X, np.ndarray):
        rows = np.asarray(rows)
        if (X.dtype.kind in "biuf") != (rows.dtype.kind in "biuf") and "O" not in (X.dtype.kind, rows.dtype.kind):
            raise ValueError(f"X_unlabeled must hold numbers where X does. Got {rows.dtype}, and X of {X.dtype}.")
        return np.concatenate([X, rows])

    import pandas as pd

    if isinstance(rows, np.ndarray):
        # From what was given: an array of a list with numbers and strings holds strings.
        rows = pd.DataFrame(X_unlabeled, columns=X.columns).infer_objects()
    return pd.concat([X, rows])


def _mark(classes: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return labels in which unlabelled rows are marked, in a dtype that scikit-learn's scorers take."""
    if classes.dtype.kind == "b" and (codes < 0).any():
        classes = classes.astype(int)
    return decode_labels(classes, codes)
