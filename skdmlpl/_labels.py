"""Labels as class indices, and the marks of rows without one."""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

__all__ = ["EncodedLabels", "count_unlabeled", "decode_labels", "encode_labels", "missing_labels"]


class EncodedLabels(NamedTuple):
    """Labels as class indices.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The distinct labels, sorted.
    codes : ndarray of shape (n_samples,), int
        Index into ``classes``; -1 for unlabelled rows.
    """

    classes: np.ndarray
    codes: np.ndarray


def encode_labels(y, n_samples: int) -> EncodedLabels:
    """Tell labelled from unlabelled rows and number the classes.

    Unlabelled are None, NaN, pandas' NA and what a masked array hides everywhere, and -1 where labels are numbers or
    mixed with them. The one exception: numbers that are exactly {-1, 1} are two ordinary classes. The strings "-1",
    "-1.0", "nan" and "<NA>" are refused.
    """
    if y is None:
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None: give the labels of X, with -1 "
            "(or None, for labels that are not numbers) on unlabelled rows."
        )
    y = _as_label_array(y)
    if y.ndim == 2 and y.shape[1] > 1:
        raise ValueError(
            f"y should be a 1d array, got an array of shape {y.shape} instead. Of one-hot labels, give "
            "y.argmax(axis=1); for several targets, wrap the estimator in sklearn.multioutput.MultiOutputClassifier."
        )
    y = column_or_1d(y, warn=True)
    if len(y) != n_samples:
        raise ValueError(f"y must have one label for each row of X, {n_samples} labels. Got {len(y)} labels instead.")
    if y.dtype.kind == "f" and np.isinf(y).any():
        raise ValueError("Input y contains infinity or a value too large for a label.")

    unlabeled = _is_missing(y)
    given = y[~unlabeled]
    if given.dtype.kind == "O":
        given = _narrow(given)
    if given.dtype.kind == "O":
        # Labels of several kinds: scikit-learn's self-training uses the number -1 among strings.
        minus_one = np.fromiter((isinstance(v, int | np.integer) and v == -1 for v in given), bool, len(given))
        given, unlabeled[~unlabeled] = _narrow(given[~minus_one]), minus_one
    elif given.dtype.kind in "if" and set(np.unique(given)) != {-1, 1}:
        minus_one = given == -1
        given, unlabeled[~unlabeled] = given[~minus_one], minus_one

    if len(given) == 0:
        raise ValueError("y must label at least two classes. Got no labelled row: all are -1, None or NaN.")
    try:
        classes, codes_given = np.unique(given, return_inverse=True)
    except TypeError as error:
        kinds = sorted({type(value).__name__ for value in given})
        raise TypeError(f"The labels in y must be of one kind, all strings or all numbers. Got {kinds}.") from error
    _beware_of_stringified(classes)
    # Every class twice: with classes of one row it would warn that y may be a regression target.
    try:
        check_classification_targets(np.repeat(classes, 2))
    except ValueError as error:
        raise ValueError(f"y must hold class labels, which are whole where they are numbers. {error}") from error
    if len(classes) < 2:
        raise ValueError(f"y must label at least two classes. Got one class only: {classes.tolist()[0]!r}.")
    codes = np.full(n_samples, -1, dtype=np.int64)
    codes[~unlabeled] = codes_given
    return EncodedLabels(classes, codes)


def decode_labels(classes: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the labels of class indices; -1 becomes -1 where classes are numbers, else None.

    Where -1 is a class it becomes NaN, which marks unlabelled rows too.
    """
    labels = classes[codes]
    missing = codes < 0
    if missing.any():
        if classes.tolist() == [-1, 1]:
            return np.where(missing, np.nan, labels)
        is_number = classes.dtype.kind in "iuf"
        if not is_number:
            labels = labels.astype(object)
        elif classes.dtype.kind == "u":
            labels = labels.astype(np.int64 if classes.max() <= np.iinfo(np.int64).max else object)
        labels[missing] = -1 if is_number else None
    return labels


def count_unlabeled(y, classes: np.ndarray) -> int:
    """Return how many rows are marked as unlabelled: by what stands for no label, or by -1 where it is no class."""
    missing = missing_labels(y)
    if missing.any() or -1 in classes:
        return np.count_nonzero(missing)
    return np.count_nonzero(_as_label_array(y) == -1)


def missing_labels(y) -> np.ndarray:
    """Return where None, NaN, NaT or pandas' NA stands for a label: a mask of the rows."""
    return _is_missing(_as_label_array(y))


def _as_label_array(y) -> np.ndarray:
    """Return y as an array; pandas' nullable and categorical columns become arrays of their values."""
    if np.ma.isMaskedArray(y):
        return np.where(np.ma.getmaskarray(y), None, y.data)
    if hasattr(y, "isna") and not isinstance(getattr(y, "dtype", None), np.dtype):
        # An extension type of pandas, or a frame, which numpy makes floats of where some integers are missing.
        y = y.to_numpy(dtype=object)
    elif hasattr(y, "to_numpy"):
        y = y.to_numpy()
    array = np.asarray(y)
    if array.dtype.kind == "T":  # numpy's StringDType, which scikit-learn does not take
        return array.astype(object)
    if array.dtype.kind == "U" and isinstance(y, list | tuple) and any(not isinstance(v, str) for v in y):
        # numpy turns [None, "a"] into strings only where it must; keep what the caller wrote.
        array = np.array(y, dtype=object)
    return array


def _beware_of_stringified(classes: np.ndarray) -> None:
    """Raise where classes were marks of unlabelled rows before they were made strings, as in an array of strings.

    Taken for a class they would be the most frequent one. Both "-1" and "1" alone are two classes, as -1 and 1 are.
    "None" may well be the name of a class, and is warned of.
    """
    if classes.dtype.kind != "U" or set(classes.tolist()) in ({"-1", "1"}, {"-1.0", "1.0"}):
        return
    marks = [label for label in ("-1", "-1.0", "nan", "<NA>") if label in classes.tolist()]
    if marks:
        raise ValueError(
            f"y must not have the string {marks[0]!r} as a label: {marks[0]} becomes it in an array of strings. "
            "Where it marks unlabelled rows, make an array of objects, with None on these rows: "
            f"np.where(y == {marks[0]!r}, None, y). Where it is a class, give the class another name."
        )
    if "None" in classes.tolist():
        warnings.warn(
            "y has the string 'None' as a label, which is taken for a class. If it marks unlabelled rows, make an "
            "array of objects, with None on these rows: np.where(y == 'None', None, y).",
            UserWarning,
            stacklevel=2,
        )


def _is_missing(y: np.ndarray) -> np.ndarray:
    """Return a mask of None, NaN, NaT and pandas' NA."""
    if y.dtype.kind == "f":
        return np.isnan(y)
    if y.dtype.kind in "mM":
        return np.isnat(y)
    if y.dtype.kind != "O":
        return np.zeros(len(y), dtype=bool)
    # pandas' NA is the only common value whose comparison with itself has no truth value.
    return np.fromiter((v is None or type(v).__name__ == "NAType" or bool(v != v) for v in y), bool, len(y))


def _narrow(values: np.ndarray) -> np.ndarray:
    """Return an object array as the plain array of its values where they are of one kind (all numbers, all strings)."""
    kinds = {np.asarray(value).dtype.kind for value in values}
    if kinds <= set("iuf") or kinds == {"b"} or kinds == {"U"}:
        return np.array(values.tolist())
    return values
