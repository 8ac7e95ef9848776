"""The rows given to fit, taken again: the estimator does not keep them."""

import numpy as np
from sklearn.base import BaseEstimator

from skdmlpl._rows import Rows
from skdmlpl._training import compare_in_batches, forward_in_batches
from skdmlpl._validation import final_step, has_no_rows

__all__ = ["compare_fitted_rows", "embed_fitted_rows", "estimator_and_rows"]

# What a fit leaves of its rows and rounds.
_RECORD = ["history_", "labeled_iter_", "transduction_", "label_distributions_", "unlabeled_prior_", "classes_"]
# Logits of the rows given to fit may differ by rounding, and by the device; those of other rows differ by more.
_SAME_ROWS = 0.1


def estimator_and_rows(estimator: BaseEstimator, X, X_unlabeled, caller: str) -> tuple[BaseEstimator, Rows]:
    """Return the estimator, out of its pipeline, and the rows given to fit, as its network wants them."""
    final = final_step(estimator, _RECORD, caller)
    given = [X] if has_no_rows(X_unlabeled) else [X, X_unlabeled]
    if final is not estimator and len(estimator) > 1:
        given = [estimator[:-1].transform(part) for part in given]
    opened = [final._network_and_rows(part)[1] for part in given]
    rows = Rows(*(part for some in opened for part in some.parts), dtype=opened[0].dtype, device=opened[0].device)
    n_expected = len(final.transduction_)
    if len(rows) != n_expected:
        raise ValueError(f"X and X_unlabeled must be the {n_expected} rows given to fit. Got {len(rows)} rows instead.")
    return final, rows


def embed_fitted_rows(estimator: BaseEstimator, rows: Rows, index: np.ndarray) -> np.ndarray:
    """Return the embeddings (n, d) of some of the rows given to fit, having checked that they are those."""
    return _checked(estimator, index, *forward_in_batches(estimator.network_, rows, index))


def compare_fitted_rows(estimator: BaseEstimator, rows: Rows, index: np.ndarray) -> np.ndarray:
    """Return what neighbours of the rows are looked for by (n, d), float32, having checked the same."""
    places = _checked(estimator, index, *compare_in_batches(estimator.network_, rows, index))
    return places.astype(np.float32, copy=False)


def _checked(estimator: BaseEstimator, index: np.ndarray, vectors: np.ndarray, logits: np.ndarray) -> np.ndarray:
    others = index[np.abs(logits.max(axis=1) - estimator._top_logits[index]) > _SAME_ROWS]
    if len(others):
        raise ValueError(
            f"X and X_unlabeled must be the rows given to fit, in the same order. Row {others[0]} is not: the network "
            "is more or less sure of its class than of that of the row that fit was given. A pipeline transforms both: "
            "give it X_unlabeled as it was before, too."
        )
    return vectors
