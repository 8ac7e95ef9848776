"""Checks of what the caller hands to the estimator; those of labels are in ``_labels.py``.

The only module that imports names scikit-learn does not document.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval, validate_parameter_constraints
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from skdmlpl.interfaces import PseudoLabels

__all__ = [
    "HasMethods",
    "Interval",
    "check_bool",
    "check_number",
    "check_parameters",
    "check_positive_integer",
    "check_pseudo_labels",
    "check_rows_like",
    "check_same_columns",
    "check_same_kind_of_rows",
    "check_table_or_images",
    "check_unlabeled",
    "final_step",
    "has_no_rows",
    "take_rows",
]

_IMAGE_NDIM = 4
# How the messages begin, or go on, where columns of text or of dates cannot be taken for numbers.
_NOT_NUMBERS = ("could not convert", "arrays of bytes/strings", "could not be promoted")
_ENCODE = "Encode text, categories and dates as numbers first, say with sklearn.preprocessing.OneHotEncoder."
_PIPELINE = (
    "A pipeline transforms X, and X_unlabeled only if its transform_input names it. Mark the unlabelled rows in y "
    "instead (skdmlpl.model_selection.stack_unlabeled), or transform X_unlabeled as X was."
)
# How much of X and X_unlabeled is looked at, and what makes a column or channel of the two too different.
_FEWEST_TO_COMPARE = 10  # rows
_ENTRIES_TO_COMPARE = 2**18
_RANGE_SLACK = 1.0  # standard deviations
_SPREAD_RATIO = 10.0


def check_parameters(part) -> None:
    """Raise where a parameter of an estimator-like part breaks its ``_parameter_constraints``."""
    validate_parameter_constraints(part._parameter_constraints, part.get_params(deep=False), type(part).__name__)


def check_positive_integer(name: str, value: object, owner: str) -> None:
    """Raise where the argument ``name`` of ``owner``, a function or a class, is no int above 0."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"The {name!r} parameter of {owner} must be an int in the range [1, inf). Got {value!r} instead."
        )


def check_number(part, name: str, low: float, high: float, *, without: float | None = None) -> None:
    """Raise where a parameter of a part is no finite number from ``low`` to ``high``, or is the end left out.

    For parts that check at each call: ``check_parameters`` takes longer, and infinity and bools for numbers.
    """
    value = getattr(part, name)
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not low <= value <= high or value == without:
        left, right = "(" if without == low else "[", ")" if high in (without, math.inf) else "]"
        raise ValueError(
            f"The {name!r} parameter of {type(part).__name__} must be a float in the range "
            f"{left}{float(low)}, {float(high)}{right}. Got {value!r} instead."
        )


def check_bool(part, name: str) -> None:
    """Raise where a parameter of a part is no bool."""
    value = getattr(part, name)
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"The {name!r} parameter of {type(part).__name__} must be a bool. Got {value!r} instead.")


def check_table_or_images(estimator, X) -> np.ndarray:
    """Return ``X`` as a numeric array of 2 or 4 dimensions, in its own dtype, copied only if it is no array.

    The estimator learns the number and the names of the features.
    """
    with _advice("X"):
        X = validate_data(estimator, X, dtype="numeric", allow_nd=True)
    return _check_layout(X, "X")


def check_rows_like(estimator, X, no_rows: np.ndarray) -> np.ndarray:
    """Return rows for a fitted estimator, which must be of the kind of ``no_rows``, a part of its X without rows."""
    with _advice("X"):
        if no_rows.ndim == _IMAGE_NDIM:
            # Their first axis counts as features to scikit-learn, whose messages say nothing of images.
            X = check_array(X, dtype="numeric", allow_nd=True, input_name="X")
        else:
            X = validate_data(estimator, X, reset=False, dtype="numeric", allow_nd=True)
    X = _check_layout(X, "X")
    check_same_kind_of_rows(no_rows, X, "X", "the X given to fit")
    return X


def check_unlabeled(estimator, X_unlabeled, X: np.ndarray) -> np.ndarray:
    """Return ``X_unlabeled`` as an array whose rows have the shape of X's; None gives no rows.

    Warns where it is as long as ``X``: then it may be what cross-validation has left of it.
    """
    try:
        with _advice("X_unlabeled"):
            if has_no_rows(X_unlabeled):
                return np.empty((0, *X.shape[1:]), dtype=X.dtype)
            # Names first: a DataFrame with swapped columns has the right shape and would go unnoticed.
            check_same_columns(getattr(estimator, "feature_names_in_", None), X_unlabeled)
            X_unlabeled = check_array(X_unlabeled, dtype="numeric", allow_nd=True, input_name="X_unlabeled")
    except (TypeError, ValueError) as error:
        if "X_unlabeled" in str(error):
            raise
        # scikit-learn does not name the argument in every message.
        raise type(error)(f"X_unlabeled must be an array like X. {error}") from error
    _check_layout(X_unlabeled, "X_unlabeled")
    with _advice("X_unlabeled"):
        check_same_kind_of_rows(X, X_unlabeled)
    if len(X_unlabeled) == len(X):
        # scikit-learn cuts X and what is as long by the same row numbers, so after a cut the lengths are equal still.
        warnings.warn(
            f"X_unlabeled has as many rows as X, {len(X)}. If this fit is part of a cross-validation, a search or an "
            "ensemble, scikit-learn has taken X_unlabeled for one value per row of X and left rows out. To train on "
            "all of them, mark them in y (skdmlpl.model_selection.stack_unlabeled) or pass one row more or less. In a "
            "fit of your own, nothing is lost.",
            UserWarning,
            stacklevel=2,
        )
    _warn_of_another_scale(X, X_unlabeled)
    return X_unlabeled


@contextmanager
def _advice(name: str) -> Iterator[None]:
    """Say how to mend what scikit-learn's messages about an argument only state."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError) as error:
        message = str(error)
        if "requires grad" in message or "ScalarType" in message:
            tensor = f"Of a tensor, give {name}.detach().cpu().float().numpy()."
            raise TypeError(f"{name} must be an array. {tensor}") from error
        if "inhomogeneous" in message:
            raise ValueError(f"{name} must have rows of one length, or images of one size. Got: {message}") from error
        if any(sign in message for sign in _NOT_NUMBERS):
            message = f"{name} must hold real numbers. {_ENCODE} Got: {message}"
            raise type(error)(f"{message} {_PIPELINE}" if name == "X_unlabeled" else message) from error
        if "X_unlabeled must have" in message:
            raise type(error)(f"{message} {_PIPELINE}") from error
        # Of X, scikit-learn says by itself what to do about it.
        if "X_unlabeled contains NaN" in message:
            raise type(error)(f"{message} Fill in what is missing as in X, or leave these rows out.") from error
        raise


def check_same_kind_of_rows(X, other, name: str = "X_unlabeled", given: str = "X") -> None:
    """Raise where rows of ``other`` differ in shape from those of X, or only one of two sets of images is uint8."""
    if other.shape[1:] != X.shape[1:]:
        raise ValueError(
            f"{name} must have rows of the same shape as {given}, {X.shape[1:]}. Got {other.shape[1:]} instead."
        )
    if X.ndim == _IMAGE_NDIM and (X.dtype == np.uint8) != (other.dtype == np.uint8):
        raise ValueError(
            f"{name} must hold images of dtype uint8 where {given} does, and only there: uint8 is scaled to [0, 1], "
            f"other dtypes are not. Got {other.dtype}, and {given} of dtype {X.dtype}, instead."
        )


def has_no_rows(X) -> bool:
    """Whether there is nothing to take rows from, whatever stands for it: None, an empty list, array or DataFrame."""
    return X is None or np.shape(X)[:1] == (0,)


def check_same_columns(names, X_unlabeled) -> None:
    """Raise where ``X_unlabeled`` names its columns otherwise than X does; None stands for no names."""
    given = getattr(X_unlabeled, "columns", None)
    if names is not None and given is not None and list(given) != list(names):
        raise ValueError(
            f"X_unlabeled must have the columns of X in the same order, {list(names)}. Got {list(given)} instead."
        )


def check_pseudo_labels(result, n_samples: int, n_classes: int) -> PseudoLabels:
    """Return what a selector returned as arrays, or raise an error that says what is wrong with it."""
    must = (
        "The 'selector' parameter of DMLPseudoLabelClassifier must return two arrays of one entry per row: labels "
        f"(class indices from 0 to {n_classes - 1}, or -1) and weights in [0, 1]. It may add class probabilities of "
        f"shape ({n_samples}, {n_classes})."
    )
    try:
        labels, weights, *rest = (None if part is None else np.asarray(part) for part in result)
        (proba,) = rest or (None,)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{must} Got {type(result).__name__} instead.") from error
    if labels.shape != (n_samples,) or weights.shape != (n_samples,):
        raise ValueError(f"{must} There are {n_samples} rows. Got shapes {labels.shape} and {weights.shape} instead.")
    if labels.dtype.kind not in "iu" or weights.dtype.kind not in "biuf":
        raise TypeError(f"{must} Got labels of dtype {labels.dtype} and weights of dtype {weights.dtype} instead.")
    if labels.min() < -1 or labels.max() >= n_classes:
        raise ValueError(f"{must} Got labels from {labels.min()} to {labels.max()} instead.")
    if not (np.all(weights >= 0) and np.all(weights <= 1)):
        raise ValueError(f"{must} Got weights from {weights.min()} to {weights.max()} instead.")
    if proba is not None:
        if proba.shape != (n_samples, n_classes):
            raise ValueError(f"{must} Got probabilities of shape {proba.shape} instead.")
        if proba.dtype.kind != "f":
            raise TypeError(f"{must} Got probabilities of dtype {proba.dtype} instead.")
        sums = proba.sum(axis=1)
        if not (proba.min() >= 0 and np.allclose(sums, 1, rtol=0, atol=1e-3)):
            raise ValueError(
                f"{must} Probabilities must not be negative, and sum to 1 in each row. Got entries from {proba.min()} "
                f"and sums from {sums.min()} to {sums.max()} instead."
            )
    return PseudoLabels(labels.astype(np.int64, copy=False), weights.astype(np.float64, copy=False), proba)


def take_rows(X, index: np.ndarray):
    """Return some rows of ``X`` in its own container: a DataFrame keeps its names."""
    return _safe_indexing(X, index)


def _warn_of_another_scale(X: np.ndarray, X_unlabeled: np.ndarray) -> None:
    """Warn where half of the columns, or channels, can hardly be the same quantities in both."""
    if min(len(X), len(X_unlabeled)) < _FEWEST_TO_COMPARE:
        return
    low, high, center, spread = _ranges(X)
    *_, other_center, other_spread = _ranges(X_unlabeled)
    varies = (spread > 0) & (other_spread > 0) & np.isfinite(spread) & np.isfinite(other_spread)
    # Classes may be distributed otherwise among the unlabelled rows, but their means lie among the labelled rows.
    slack = _RANGE_SLACK * spread
    outside = (other_center < low - slack) | (other_center > high + slack)
    with np.errstate(over="ignore"):
        ratio = np.divide(other_spread, spread, out=np.ones_like(spread), where=varies)
    strange = varies & (outside | (ratio > _SPREAD_RATIO) | (ratio < 1 / _SPREAD_RATIO))
    if varies.any() and strange.sum() >= varies.sum() / 2:
        column = int(strange.argmax())
        warnings.warn(
            f"X_unlabeled seems to be on another scale than X: column {column} has mean {other_center[column]:.3g} and "
            f"standard deviation {other_spread[column]:.3g} there, and {center[column]:.3g} and {spread[column]:.3g} "
            f"in X; so it is with {strange.sum()} of {varies.sum()} columns. {_PIPELINE}",
            UserWarning,
            stacklevel=2,
        )


def _ranges(X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return minimum, maximum, mean and standard deviation of each column or channel, in some of the rows."""
    n_rows = int(np.clip(_ENTRIES_TO_COMPARE // np.prod(X.shape[1:]), _FEWEST_TO_COMPARE, len(X)))
    sample = X[np.linspace(0, len(X) - 1, n_rows, dtype=np.int64)].astype(np.float64)
    axes = (0, *range(2, X.ndim))
    with np.errstate(over="ignore", invalid="ignore"):
        return sample.min(axes), sample.max(axes), sample.mean(axes), sample.std(axes)


def _check_layout(X: np.ndarray, name: str) -> np.ndarray:
    if X.ndim not in (2, _IMAGE_NDIM):
        hint = f" Of grey images, {name}[:, None] has the channel." if X.ndim == _IMAGE_NDIM - 1 else ""
        raise ValueError(
            f"{name} must be a table (n_samples, n_features) or images (n_samples, channels, height, width). "
            f"Got an array of {X.ndim} dimensions, shape {X.shape}, instead.{hint}"
        )
    if X.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers. Got dtype {X.dtype} instead. {_ENCODE}")
    if 0 in X.shape[1:]:
        raise ValueError(f"{name} must not have an empty axis. Got shape {X.shape} instead.")
    if X.ndim == _IMAGE_NDIM and _has_channels_last(X.shape):
        raise ValueError(
            f"{name} must hold images of shape (n_samples, channels, height, width). Got shape {X.shape}, whose "
            f"channels seem to come last. {name}.transpose(0, 3, 1, 2) puts them where they belong, without a copy."
        )
    return X


def _has_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether images look like (n_samples, height, width, channels): as such they are usual, else three pixels wide."""
    _, height, width, channels = shape
    return min(height, width) > 4 and (channels == 3 or (channels in (1, 4) and height == width))


def final_step(estimator, attributes: Sequence[str], caller: str):
    """Return the estimator, or the last one of a pipeline, if it is fitted and has the attributes."""
    final = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    check_is_fitted(final)
    missing = [name for name in attributes if not hasattr(final, name)]
    if missing:
        hint = " Give its best_estimator_." if hasattr(final, "best_estimator_") else ""
        raise TypeError(
            f"{caller} needs an estimator with {', '.join(attributes)}, such as DMLPseudoLabelClassifier. "
            f"Got {type(final).__name__}, which has no {', '.join(missing)}.{hint}"
        )
    return final
