"""Look into a fit: what its rounds did, why a row has its label, and which rows to label next.

The estimator does not keep its training rows. Functions that need them take them again, as they were given to ``fit``,
and notice if they are others or in another order. Rows are numbered as in ``transduction_``: those of ``X``, then those
of ``X_unlabeled``.
"""

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator

from skdmlpl._rounds import softmax
from skdmlpl._rows import Rows
from skdmlpl._training import forward_in_batches
from skdmlpl._validation import final_step
from skdmlpl.interfaces import RoundRecord
from skdmlpl.neighbors import knn_graph

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LabelReport", "SuggestedRows", "explain_labels", "history_frame", "suggest_rows"]

# What a fit leaves of its rows and rounds.
_RECORD = ["history_", "labeled_iter_", "transduction_", "label_distributions_", "unlabeled_prior_", "classes_"]
# Scale of the cosines in the votes, that of NearestNeighborSelector.
_TEMPERATURE = 0.1
# Votes held at a time.
_BLOCK = 2**22
# Probabilities of the rows given to fit may differ by rounding, and by the device; those of other rows differ by more.
_SAME_ROWS = 0.1
# As in the graph that labels spread over.
_COSINE_POWER = 3


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
    >>> clf = DMLPseudoLabelClassifier(max_rounds=1, random_state=0).fit(X[::5], y[::5], X)
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


@dataclass(frozen=True)
class LabelReport:
    """What :func:`explain_labels` found, one entry for each row asked for.

    Attributes
    ----------
    rows : ndarray of shape (n_rows,), int
        Row numbers, as in ``transduction_``.
    labels : ndarray of shape (n_rows,)
        Their labels; -1 (None where labels are not numbers) for rows that have none.
    rounds : ndarray of shape (n_rows,), int
        Round since which a row has had its label: 0 for given labels, -1 for rows that have none.
    reliability : ndarray of shape (n_rows,), float64
        The weight of the label in the last round, in [0, 1]: 1 for given labels, nan for rows that have none.
    votes : ndarray of shape (n_rows, n_classes), float32
        Share of each class in the votes, in the order of ``classes_``; each line sums to 1.
    voters : ndarray of shape (n_rows, n_voters), int
        Row numbers of the labelled rows with the largest shares in the votes, largest first; -1 where there are no
        more.
    voter_labels : ndarray of shape (n_rows, n_voters)
        Their labels; those of the places without a voter mean nothing.
    voter_shares : ndarray of shape (n_rows, n_voters), float32
        Their shares, 0 without a voter.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdmlpl import DMLPseudoLabelClassifier
    >>> from skdmlpl.inspection import explain_labels
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = DMLPseudoLabelClassifier(max_rounds=1, random_state=0).fit(X[::5], y[::5], X)
    >>> report = explain_labels(clf, X[::5], X, rows=[30, 31], n_voters=2)
    >>> report.to_frame()[["row", "label", "round", "voter_label"]]
       row  label  round  voter_label
    0   30      0      1            0
    1   30      0      1            0
    2   31      0      1            0
    3   31      0      1            0
    """

    rows: np.ndarray
    labels: np.ndarray
    rounds: np.ndarray
    reliability: np.ndarray
    votes: np.ndarray
    voters: np.ndarray
    voter_labels: np.ndarray
    voter_shares: np.ndarray

    def to_frame(self) -> "pd.DataFrame":
        """Return one line for each row and voter.

        Returns
        -------
        pandas.DataFrame
            Columns ``row``, ``label``, ``round``, ``reliability``, ``voter``, ``voter_label`` and ``voter_share``.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        import pandas as pd

        line, place = np.nonzero(self.voters >= 0)
        return pd.DataFrame(
            {
                "row": self.rows[line],
                "label": self.labels[line],
                "round": self.rounds[line],
                "reliability": self.reliability[line],
                "voter": self.voters[line, place],
                "voter_label": self.voter_labels[line, place],
                "voter_share": self.voter_shares[line, place],
            }
        )


def explain_labels(
    estimator: BaseEstimator,
    X,
    X_unlabeled=None,
    *,
    rows=None,
    n_neighbors: int = 10,
    n_voters: int = 5,
) -> LabelReport:
    r"""Say of rows given to fit which labels they have, since when, how surely, and which labelled rows speak for it.

    The votes are those of the labelled rows that lie nearest in the final embedding: of every class the `n_neighbors`
    nearest (all, where a class has fewer) vote with :math:`e^{\cos / 0.1}` divided by their number, so that a class
    of three rows has as much of a say as one of a thousand. A labelled row does not vote on itself: where its own label
    gets few of the votes, look at it again.

    The label itself came about in the last round, from an earlier state of the embedding, by the rule of the selector
    and with the consent of the network. Votes that contradict the label are therefore possible. They are a reason to
    look at the row.

    Parameters
    ----------
    estimator : DMLPseudoLabelClassifier or Pipeline
        Fitted estimator, or a pipeline that ends with one.
    X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
        As given to fit.
    X_unlabeled : array-like of shape (n_unlabeled, ...) or None, default=None
        As given to fit.
    rows : int, array-like of shape (n_rows,) of int, or None, default=None
        Numbers of the rows to explain, as in ``transduction_``: the first of `X_unlabeled` has the number ``len(X)``.
        None explains every row without a given label.
    n_neighbors : int, default=10
        Nearest labelled rows of each class that vote.
    n_voters : int, default=5
        Most labelled rows that are named for each row.

    Returns
    -------
    LabelReport
        Arrays with one entry for each row; its method ``to_frame`` makes a DataFrame of them.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator keeps no record of its rounds.
    ValueError
        If `X` and `X_unlabeled` are not the rows given to fit, or a parameter does not fit.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdmlpl import DMLPseudoLabelClassifier
    >>> from skdmlpl.inspection import explain_labels
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = DMLPseudoLabelClassifier(max_rounds=1, random_state=0).fit(X[::5], y[::5], X)
    >>> report = explain_labels(clf, X[::5], X, rows=[30, 31])
    >>> report.labels, report.voter_labels[0]
    (array([0, 0]), array([0, 0, 0, 0, 0]))
    """
    _check_positive_integer("n_neighbors", n_neighbors, "explain_labels")
    _check_positive_integer("n_voters", n_voters, "explain_labels")
    estimator, training_rows = _estimator_and_rows(estimator, X, X_unlabeled, "explain_labels")
    given = estimator.labeled_iter_ == 0
    rows = np.flatnonzero(~given) if rows is None else _check_row_numbers(rows, len(given))
    labeled = np.flatnonzero(given)
    codes = np.full(len(given), -1)
    codes[labeled] = estimator.label_distributions_[labeled].argmax(axis=1)  # one-hot

    needed = given.copy()
    needed[rows] = True
    embeddings = torch.from_numpy(_embed(estimator, training_rows, np.flatnonzero(needed)))
    place = np.cumsum(needed) - 1  # of a row among those embedded
    votes, voters, shares = _vote(
        embeddings[place[rows]],
        torch.from_numpy(rows),
        embeddings[place[labeled]],
        torch.from_numpy(labeled),
        torch.from_numpy(codes[labeled]),
        n_neighbors=n_neighbors,
        n_voters=n_voters,
    )
    return LabelReport(
        rows=rows,
        labels=estimator.transduction_[rows],
        rounds=estimator.labeled_iter_[rows],
        reliability=_reliability(estimator)[rows],
        votes=votes,
        voters=np.where(shares > 0, voters, -1),
        voter_labels=estimator.classes_[codes[voters]],
        voter_shares=shares,
    )


@dataclass(frozen=True)
class SuggestedRows:
    """What :func:`suggest_rows` found, most worth a label first.

    Attributes
    ----------
    rows : ndarray of shape (n_rows,), int
        Row numbers, as in ``transduction_``.
    labels : ndarray of shape (n_rows,)
        Their pseudo-labels; where a row has none, its most probable label.
    reliability : ndarray of shape (n_rows,), float64
        How sure these labels are, in [0, 1].
    influence : ndarray of shape (n_rows,), float64
        Number of unlabelled rows that have the row among their nearest neighbours, weighted by their likeness to it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdmlpl import DMLPseudoLabelClassifier
    >>> from skdmlpl.inspection import suggest_rows
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = DMLPseudoLabelClassifier(max_rounds=1, random_state=0).fit(X[::5], y[::5], X)
    >>> suggested = suggest_rows(clf, X[::5], X, n_rows=3)
    >>> suggested.to_frame().columns.tolist()
    ['row', 'label', 'reliability', 'influence']
    >>> rows_to_label = X[suggested.rows - 30]  # the first 30 rows given to fit are labelled
    """

    rows: np.ndarray
    labels: np.ndarray
    reliability: np.ndarray
    influence: np.ndarray

    def to_frame(self) -> "pd.DataFrame":
        """Return one line for each row.

        Returns
        -------
        pandas.DataFrame
            Columns ``row``, ``label``, ``reliability`` and ``influence``.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame(
            {"row": self.rows, "label": self.labels, "reliability": self.reliability, "influence": self.influence}
        )


def suggest_rows(
    estimator: BaseEstimator, X, X_unlabeled=None, *, n_rows: int = 10, n_neighbors: int = 10
) -> SuggestedRows:
    r"""Suggest the unlabelled rows that are most worth a human's label.

    A label is worth most where the row's own is unreliable, where many rows are like it, and in rare classes. Let
    :math:`u_i` be one minus the reliability of the label of row :math:`i`, :math:`n_i` the number of unlabelled rows
    with the same label, and :math:`a_{ji} = \max(0, \cos)^3` where :math:`i` is among the :math:`k` nearest neighbours
    of :math:`j` in the final embedding, else 0. The row of the largest

    .. math:: \frac{u_i}{n_i} \Big( 1 + \frac{1}{k} \sum_j a_{ji} \Big)

    comes first: uncertainty times density [1]_, by class. Then the labels of its neighbours count as settled as far as
    they are alike, :math:`u_j` is multiplied by :math:`1 - \max(a_{ji}, a_{ij})`, and the next row is chosen, so that
    the suggestions do not all lie in one place.

    Give these rows their labels, move them to the labelled ones and fit again.

    Parameters
    ----------
    estimator : DMLPseudoLabelClassifier or Pipeline
        Fitted estimator, or a pipeline that ends with one.
    X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
        As given to fit.
    X_unlabeled : array-like of shape (n_unlabeled, ...) or None, default=None
        As given to fit.
    n_rows : int, default=10
        Number of rows to suggest; all unlabelled ones, in order, where there are no more.
    n_neighbors : int, default=10
        Nearest neighbours of each unlabelled row, among the unlabelled rows.

    Returns
    -------
    SuggestedRows
        Arrays, best row first; its method ``to_frame`` makes a DataFrame of them.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator keeps no record of its rounds.
    ValueError
        If `X` and `X_unlabeled` are not the rows given to fit, a parameter does not fit, or fit was given no unlabelled
        rows.

    References
    ----------
    .. [1] Settles, Craven, "An analysis of active learning strategies for sequence labeling tasks", EMNLP 2008,
       :doi:`10.3115/1613715.1613855`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skdmlpl import DMLPseudoLabelClassifier
    >>> from skdmlpl.inspection import suggest_rows
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = DMLPseudoLabelClassifier(max_rounds=1, random_state=0).fit(X[::5], y[::5], X)
    >>> suggested = suggest_rows(clf, X[::5], X, n_rows=3)
    >>> np.unique(suggested.labels)  # setosa, class 0, is easy to tell from the others
    array([1, 2])
    """
    _check_positive_integer("n_rows", n_rows, "suggest_rows")
    _check_positive_integer("n_neighbors", n_neighbors, "suggest_rows")
    estimator, training_rows = _estimator_and_rows(estimator, X, X_unlabeled, "suggest_rows")
    unlabeled = np.flatnonzero(estimator.labeled_iter_ != 0)
    if len(unlabeled) == 0:
        raise ValueError("suggest_rows needs unlabelled rows. Every row given to fit has a label.")

    embeddings = _embed(estimator, training_rows, np.arange(len(training_rows)))[unlabeled]
    codes, reliability = _labels_to_review(estimator, unlabeled)
    likeness = _likeness(embeddings, n_neighbors)
    influence = likeness.sum(axis=1)
    class_size = np.bincount(codes)[codes]
    worth = (1 - reliability) / class_size * (1 + influence / n_neighbors)
    chosen = _choose(worth, likeness.maximum(likeness.T).tocsr(), min(n_rows, len(unlabeled)))
    return SuggestedRows(
        rows=unlabeled[chosen],
        labels=estimator.classes_[codes[chosen]],
        reliability=reliability[chosen],
        influence=influence[chosen],
    )


def _estimator_and_rows(estimator: BaseEstimator, X, X_unlabeled, caller: str) -> tuple[BaseEstimator, Rows]:
    """Return the estimator, out of its pipeline, and the rows given to fit, as its network wants them."""
    final = final_step(estimator, _RECORD, caller)
    given = [X] if X_unlabeled is None or len(X_unlabeled) == 0 else [X, X_unlabeled]
    if final is not estimator and len(estimator) > 1:
        given = [estimator[:-1].transform(part) for part in given]
    opened = [final._network_and_rows(part)[1] for part in given]
    rows = Rows(*(part for some in opened for part in some.parts), dtype=opened[0].dtype, device=opened[0].device)
    n_expected = len(final.transduction_)
    if len(rows) != n_expected:
        raise ValueError(f"X and X_unlabeled must be the {n_expected} rows given to fit. Got {len(rows)} rows instead.")
    return final, rows


def _embed(estimator: BaseEstimator, rows: Rows, index: np.ndarray) -> np.ndarray:
    """Return the embeddings (n, d), float32, of some of the rows given to fit, having checked that they are those."""
    embeddings, logits = forward_in_batches(estimator.network_, rows if len(index) == len(rows) else rows.take(index))
    unlabeled = estimator.labeled_iter_[index] != 0
    proba = softmax(logits[unlabeled] + np.log(estimator.unlabeled_prior_))
    difference = np.abs(proba - estimator.label_distributions_[index[unlabeled]]).max(axis=1)
    others = index[unlabeled][difference > _SAME_ROWS]
    if len(others):
        raise ValueError(
            f"X and X_unlabeled must be the rows given to fit, in the same order. Row {others[0]} is not: its class "
            "probabilities are others than those of the row that fit was given."
        )
    return embeddings.astype(np.float32, copy=False)


def _vote(
    queries: torch.Tensor,
    query_rows: torch.Tensor,
    members: torch.Tensor,
    member_rows: torch.Tensor,
    codes: torch.Tensor,
    *,
    n_neighbors: int,
    n_voters: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the votes of the classes (m, n_classes), and the largest voters and their shares (m, n_voters)."""
    classes = [torch.nonzero(codes == c).ravel() for c in range(int(codes.max()) + 1)]
    widths = [min(n_neighbors, len(of_class)) for of_class in classes]
    found = []
    block_size = max(1, _BLOCK // len(members))
    for block, own in zip(queries.split(block_size), query_rows.split(block_size), strict=True):
        scores, voters = [], []
        for of_class, width in zip(classes, widths, strict=True):
            cosines = block @ members[of_class].T
            cosines.masked_fill_(own[:, None] == member_rows[of_class], -torch.inf)
            nearest = cosines.topk(width, dim=1)
            n_voting = nearest.values.isfinite().sum(dim=1, keepdim=True).clamp_min(1)
            scores.append(nearest.values / _TEMPERATURE - n_voting.log())
            voters.append(member_rows[of_class][nearest.indices])
        shares = torch.cat(scores, dim=1).softmax(dim=1)  # (b, sum of widths)
        votes = torch.stack([part.sum(dim=1) for part in shares.split(widths, dim=1)], dim=1)
        largest = shares.topk(min(n_voters, shares.shape[1]), dim=1)
        found.append((votes, torch.cat(voters, dim=1).gather(1, largest.indices), largest.values))
    votes, voters, shares = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    return votes, voters, shares


def _reliability(estimator: BaseEstimator) -> np.ndarray:
    """Return the weight of each row's label in the last round; 1 for given labels, nan without a label."""
    reliability = np.ones(len(estimator.transduction_))
    labels, weights = estimator.history_[-1].pseudo_labels
    reliability[estimator.labeled_iter_ != 0] = np.where(labels >= 0, weights, np.nan)
    return reliability


def _labels_to_review(estimator: BaseEstimator, unlabeled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return class indices and reliability of the unlabelled rows, the network's where a row has no pseudo-label."""
    codes, weights = estimator.history_[-1].pseudo_labels
    proba = estimator.label_distributions_[unlabeled]
    second, first = np.partition(proba, -2, axis=1)[:, -2:].T
    return np.where(codes >= 0, codes, proba.argmax(axis=1)), np.where(codes >= 0, weights, first - second)


def _likeness(embeddings: np.ndarray, n_neighbors: int) -> sp.csr_array:
    """Return a sparse (n, n): in line i, the likeness of the rows that have i among their nearest neighbours."""
    n = len(embeddings)
    distances, neighbors = knn_graph(embeddings, n_neighbors, random_state=0)
    cosines = np.maximum(1 - distances.astype(np.float64) ** 2 / 2, 0)  # of unit vectors
    finders = np.repeat(np.arange(n), neighbors.shape[1])
    return sp.csr_array((cosines.ravel() ** _COSINE_POWER, (neighbors.ravel(), finders)), shape=(n, n))


def _choose(worth: np.ndarray, likeness: sp.csr_array, n_rows: int) -> np.ndarray:
    """Return the numbers of the rows of the largest worth, which falls as rows like them are chosen."""
    worth, chosen = worth.copy(), np.empty(n_rows, dtype=np.int64)
    for place in range(n_rows):
        chosen[place] = best = worth.argmax()
        alike = likeness[[best]]
        worth[alike.indices] *= 1 - np.minimum(alike.data, 1)
        worth[best] = -1  # below all others, whose worth is not negative
    return chosen


def _mean_weights(record: RoundRecord, n_classes: int) -> np.ndarray:
    labels, weights = record.pseudo_labels
    total = np.bincount(labels[labels >= 0], weights=weights[labels >= 0], minlength=n_classes)
    return np.divide(total, record.class_counts, out=np.full(n_classes, np.nan), where=record.class_counts > 0)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _check_row_numbers(rows, n_rows: int) -> np.ndarray:
    rows = np.atleast_1d(np.asarray(rows))
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(rows) == 0 or rows.min() < 0 or rows.max() >= n_rows:
        raise ValueError(
            f"The 'rows' parameter of explain_labels must hold row numbers from 0 to {n_rows - 1}, as in "
            f"transduction_. Got {rows!r} instead."
        )
    return rows.astype(np.int64)


def _check_positive_integer(name: str, value: object, owner: str) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"The {name!r} parameter of {owner} must be an int in the range [1, inf). Got {value!r} instead."
        )
