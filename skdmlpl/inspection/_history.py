"""What the rounds of a fit did."""

from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator

from skdmlpl._validation import final_step
from skdmlpl.interfaces import RoundRecord

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["history_frame"]


def history_frame(estimator: BaseEstimator, *, by_class: bool = False) -> "pd.DataFrame":
    """Return ``history_`` as a DataFrame.

    Parameters
    ----------
    estimator : DMLPseudoLabelClassifier or Pipeline
        Fitted estimator, or a pipeline that ends with one.
    by_class : bool, default=False
        One line for each round and class, in place of one for each round.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``round``, with columns ``n_pseudo_labeled``, ``coverage`` (their share of the unlabelled rows),
        ``mean_weight``, ``classification_loss``, ``metric_loss`` and ``seconds``; nan where there is nothing to average
        or the loss was left out. With `by_class`, indexed by ``round`` and ``class``, with columns
        ``n_pseudo_labeled``, ``mean_weight`` and ``prior``, the estimated share of the class among the unlabelled rows.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator keeps no record of its rounds.
    ImportError
        If pandas is not installed.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdmlpl import DMLPseudoLabelClassifier
    >>> from skdmlpl.inspection import history_frame
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = DMLPseudoLabelClassifier(n_steps=100, max_rounds=1, random_state=0).fit(X[::5], y[::5], X)
    >>> history_frame(clf)["n_pseudo_labeled"].tolist()
    [0, 150]
    """
    estimator = final_step(estimator, ["history_", "classes_"], "history_frame")
    import pandas as pd

    if by_class:
        frames = [
            pd.DataFrame(
                {
                    "round": record.round,
                    "class": estimator.classes_,
                    "n_pseudo_labeled": record.class_counts,
                    "mean_weight": _mean_weights(record, len(estimator.classes_)),
                    "prior": record.prior,
                }
            )
            for record in estimator.history_
        ]
        return pd.concat(frames).set_index(["round", "class"])
    return pd.DataFrame(
        {
            "round": record.round,
            "n_pseudo_labeled": record.n_pseudo_labeled,
            "coverage": _share(record.n_pseudo_labeled, len(record.pseudo_labels.labels)),
            "mean_weight": record.mean_weight,
            "classification_loss": record.classification_loss,
            "metric_loss": record.metric_loss,
            "seconds": record.seconds,
        }
        for record in estimator.history_
    ).set_index("round")


def _mean_weights(record: RoundRecord, n_classes: int) -> np.ndarray:
    labels, weights, _ = record.pseudo_labels
    total = np.bincount(labels[labels >= 0], weights=weights[labels >= 0], minlength=n_classes)
    return np.divide(total, record.class_counts, out=np.full(n_classes, np.nan), where=record.class_counts > 0)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
