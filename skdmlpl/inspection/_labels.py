"""Why a row has its pseudo-label."""

import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.base import BaseEstimator

from skdmlpl._validation import check_positive_integer
from skdmlpl.inspection._fitted_rows import compare_fitted_rows, estimator_and_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LabelReport", "explain_labels"]

# Scale of the cosines in the votes, that of NearestNeighborSelector.
_TEMPERATURE = 0.1
# Votes held at a time.
_BLOCK = 2**22


@dataclass(frozen=True)
class LabelReport:
    """What :func:`explain_labels` found, one entry for each row asked for.

    Attributes
    ----------
    rows : ndarray of shape (n_rows,), int
        Row numbers, as in ``transduction_``.
    labels : ndarray of shape (n_rows,)
        Their labels; for rows that have none -1, None where labels are not numbers, nan where -1 is a class.
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
    >>> clf = DMLPseudoLabelClassifier(n_steps=100, max_rounds=1, random_state=0).fit(X[::5], y[::5], X)
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

    The votes are those of the labelled rows that lie nearest by the final network, as the fit looks for neighbours: of
    every class the `n_neighbors` nearest (all, where a class has fewer) vote with :math:`e^{\cos / 0.1}` divided by
    their number, so that a class of three rows has as much of a say as one of a thousand. A labelled row does not vote
    on itself: where its own label gets few of the votes, look at it again.

    The label itself came about in the last round, from an earlier state of the network, by the rule of the selector
    and with the consent of the network. Votes that contradict the label are therefore possible. They are a reason to
    look at the row.

    Parameters
    ----------
    estimator : DMLPseudoLabelClassifier or Pipeline
        Fitted estimator, or a pipeline that ends with one.
    X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
        As given to fit.
    X_unlabeled : array-like of shape (n_unlabeled, ...) or None, default=None
        As given to fit. A pipeline transforms it as it does `X`: where `fit` got it transformed, the one before.
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
    >>> clf = DMLPseudoLabelClassifier(n_steps=100, max_rounds=1, random_state=0).fit(X[::5], y[::5], X)
    >>> report = explain_labels(clf, X[::5], X, rows=[30, 31])
    >>> report.labels, report.voter_labels[0]
    (array([0, 0]), array([0, 0, 0, 0, 0]))
    """
    check_positive_integer("n_neighbors", n_neighbors, "explain_labels")
    check_positive_integer("n_voters", n_voters, "explain_labels")
    estimator, training_rows = estimator_and_rows(estimator, X, X_unlabeled, "explain_labels")
    given = estimator.labeled_iter_ == 0
    rows = np.flatnonzero(~given) if rows is None else _check_row_numbers(rows, len(given))
    labeled = np.flatnonzero(given)
    codes = np.full(len(given), -1)
    codes[labeled] = estimator.label_distributions_[labeled].argmax(axis=1)  # one-hot

    needed = given.copy()
    needed[rows] = True
    embeddings = torch.from_numpy(compare_fitted_rows(estimator, training_rows, np.flatnonzero(needed)))
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
    labels, weights, _ = estimator.history_[-1].pseudo_labels
    reliability[estimator.labeled_iter_ != 0] = np.where(labels >= 0, weights, np.nan)
    return reliability


def _check_row_numbers(rows, n_rows: int) -> np.ndarray:
    rows = np.atleast_1d(np.asarray(rows))
    if len(rows) == 0:  # of any dtype, as is that of an empty list
        rows = rows.astype(np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or (rows < 0).any() or (rows >= n_rows).any():
        raise ValueError(
            f"The 'rows' parameter of explain_labels must hold row numbers from 0 to {n_rows - 1}, as in "
            f"transduction_. Got {reprlib.repr(rows.tolist())} instead."
        )
    return rows.astype(np.int64)
