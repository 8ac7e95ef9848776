"""Metric losses: rows of equal label close together, rows of different label far apart, every label counted equally.

Both losses normalise the embeddings to unit length, so distances and similarities are those on the sphere. Both are
class-balanced: what is averaged is first averaged within each label, so a class with many rows in the batch pulls no
harder than one with two. A label here is any id, so an unlabelled row that arrives as two views under an id of its own
counts as much as a class; where a batch holds many such rows, they decide the loss.
"""

import math

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from skdmlpl._validation import check_number

__all__ = ["ContrastiveLoss", "TripletMarginLoss"]


class TripletMarginLoss(BaseEstimator):
    """Triplet loss with semi-hard negatives.

    For every pair of an anchor ``a`` and another row ``p`` of its label, one negative ``n`` is taken, and the loss is
    the mean of ``max(0, d(a, p) - d(a, n) + margin)``, where ``d`` is the squared Euclidean distance between the unit
    vectors, a number in [0, 4]. The negative is the nearest of those further from the anchor than the positive is:
    semi-hard, if it lies within the margin, and without effect, if it does not. Where no negative is further than the
    positive, the furthest negative is taken. Always taking the nearest one would let the embeddings collapse into one
    point, see [1]_.

    Parameters
    ----------
    margin : float, default=0.2
        By how much a negative has to be further away than a positive. A larger margin pushes the classes further
        apart and keeps more pairs active, at the price of following wrong labels more.

    See Also
    --------
    ContrastiveLoss : Compares a pair with all negatives at once.

    References
    ----------
    .. [1] Schroff, Kalenichenko, Philbin, "FaceNet: A unified embedding for face recognition and clustering",
       CVPR 2015, :doi:`10.1109/CVPR.2015.7298682`.

    Examples
    --------
    >>> import torch
    >>> from skdmlpl.losses import TripletMarginLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
    >>> loss = TripletMarginLoss(margin=0.5)(embeddings, torch.tensor([0, 0, 1, 1]))
    >>> round(loss.item(), 4)
    0.1
    """

    def __init__(self, margin: float = 0.2) -> None:
        self.margin = margin

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss of a batch.

        Parameters
        ----------
        embeddings : Tensor of shape (b, d), float
            Need not be normalised. A zero vector stays where it is and receives no gradient.
        labels : Tensor of shape (b,), int64
            Label of each row.

        Returns
        -------
        Tensor of shape (), float
            Without any pair of equal or any pair of different labels: 0 with a zero gradient.

        Raises
        ------
        ValueError
            If `margin` is not a finite number >= 0, or the shapes do not match.
        """
        check_number(self, "margin", 0, math.inf)
        positive = _positive_pairs(embeddings, labels)
        if not _comparable(positive, labels):
            return _zero(embeddings)
        unit = _normalize(embeddings)
        distance = 2 - 2 * unit @ unit.T  # (b, b): without a square root, so smooth at identical rows
        anchor, near = positive.nonzero(as_tuple=True)
        far = _semi_hard_negatives(distance.detach(), labels, anchor, near)
        violation = distance[anchor, near] - distance[anchor, far] + self.margin
        return _mean_over_labels(violation.relu(), labels[anchor])


class ContrastiveLoss(BaseEstimator):
    r"""Supervised contrastive loss with a margin and balanced classes.

    With :math:`s_{ij}` the cosine similarity, :math:`P_i` the other rows of the label of row :math:`i` and
    :math:`c_j` the number of rows that share the label of row :math:`j`, the loss of a pair is

    .. math::
        \ell_{ip} = -\log \frac{e^{z_{ip}}}{\sum_{j \ne i} e^{z_{ij}}}, \qquad p \in P_i, \qquad
        z_{ij} = \frac{s_{ij} - m\,[j \in P_i]}{\tau} - \log c_j .

    It combines three sources. Without margin and with equally many rows of each label it is the supervised contrastive
    loss of [1]_. The term :math:`\log c_j` averages over the rows of each label in the sum, the class-averaging of
    [2]_, so that many negatives of one class do not outvote a few of another. The margin is subtracted from the
    similarity of the positives, as [3]_ does for class centres; for one positive a row, this is the loss of [4]_ up to
    a constant. The pairs are averaged within each label, then over the labels.

    Parameters
    ----------
    margin : float, default=0.2
        By how much the cosine of a positive has to exceed that of a negative. A larger margin makes the classes more
        compact, at the price of following wrong labels more.
    temperature : float, default=0.1
        Scale of the similarities. The lower, the more the nearest negatives alone matter.

    See Also
    --------
    TripletMarginLoss : Compares a pair with one negative, and leaves pairs alone that are far enough apart.

    References
    ----------
    .. [1] Khosla et al., "Supervised contrastive learning", NeurIPS 2020, :arxiv:`2004.11362`.
    .. [2] Zhu et al., "Balanced contrastive learning for long-tailed visual recognition", CVPR 2022,
       :arxiv:`2207.09052`.
    .. [3] Wang et al., "Additive margin softmax for face verification", 2018, :arxiv:`1801.05599`.
    .. [4] Barbano et al., "Unbiased supervised contrastive learning", ICLR 2023, :arxiv:`2211.05568`.

    Examples
    --------
    >>> import torch
    >>> from skdmlpl.losses import ContrastiveLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
    >>> loss = ContrastiveLoss(margin=0.0, temperature=0.5)(embeddings, torch.tensor([0, 0, 1, 1]))
    >>> round(loss.item(), 4)
    0.8707
    """

    def __init__(self, margin: float = 0.2, temperature: float = 0.1) -> None:
        self.margin = margin
        self.temperature = temperature

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss of a batch.

        Parameters
        ----------
        embeddings : Tensor of shape (b, d), float
            Need not be normalised. A zero vector stays where it is and receives no gradient.
        labels : Tensor of shape (b,), int64
            Label of each row.

        Returns
        -------
        Tensor of shape (), float
            Without any pair of equal or any pair of different labels: 0 with a zero gradient.

        Raises
        ------
        ValueError
            If `margin` is not a finite number >= 0 or `temperature` not one > 0, or the shapes do not match.
        """
        check_number(self, "margin", 0, math.inf)
        check_number(self, "temperature", 0, math.inf, without=0)
        positive = _positive_pairs(embeddings, labels)
        if not _comparable(positive, labels):
            return _zero(embeddings)
        unit = _normalize(embeddings)
        n_same = positive.sum(dim=1) + 1  # (b,)
        logits = (unit @ unit.T - self.margin * positive) / self.temperature - n_same.log()
        log_proba = logits.fill_diagonal_(-math.inf).log_softmax(dim=1)  # (b, b)
        return _mean_over_labels(-log_proba[positive], labels.repeat_interleave(n_same - 1))


def _positive_pairs(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Which pairs (b, b) are two different rows of the same label."""
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            "Expected embeddings of shape (b, d) and labels of shape (b,), but "
            f"embeddings.shape = {tuple(embeddings.shape)}, labels.shape = {tuple(labels.shape)}."
        )
    return (labels[:, None] == labels).fill_diagonal_(False)


def _comparable(positive: Tensor, labels: Tensor) -> bool:
    # With two labels in the batch, every row has a negative.
    return bool(positive.any() and (labels != labels[0]).any())


def _zero(embeddings: Tensor) -> Tensor:
    # The sum of no rows stays 0 where embeddings overflow, and belongs to the graph.
    return embeddings[:0].sum()


def _normalize(embeddings: Tensor) -> Tensor:
    """Rows of unit length, in float32 at least."""
    embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    length = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
    # Dividing by a small constant in place of a zero length would multiply the gradient by its inverse.
    return embeddings / length.masked_fill(length <= torch.finfo(length.dtype).eps, math.inf)


def _semi_hard_negatives(distance: Tensor, labels: Tensor, anchor: Tensor, near: Tensor) -> Tensor:
    """Row (n_pairs,) of each pair's negative: the nearest that is further than the positive, else the furthest."""
    negative = labels[:, None] != labels
    ordered = distance.masked_fill(~negative, 5.0).sort(dim=1)  # negatives first: a distance is 4 at most
    # One search for the pairs alone, along all rows laid end to end, takes a fifth of a search by row for all (b, b).
    start = 8 * torch.arange(len(distance), dtype=torch.float64, device=distance.device)
    line = (ordered.values + start[:, None]).flatten()
    further = torch.searchsorted(line, distance[anchor, near] + start[anchor], right=True) - anchor * len(distance)
    furthest = negative.sum(dim=1) - 1
    return ordered.indices[anchor, further.minimum(furthest[anchor])]


def _mean_over_labels(values: Tensor, labels: Tensor) -> Tensor:
    """Mean over the labels of each label's mean value."""
    _, group, count = labels.unique(return_inverse=True, return_counts=True)
    return (values / count[group]).sum() / len(count)
