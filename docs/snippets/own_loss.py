"""A metric loss of your own: any callable of embeddings and labels."""

from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.datasets import make_long_tailed_split


@dataclass
class NeighborhoodLoss:
    """Minus the log probability that a row picks a row of its own class as its neighbour."""

    temperature: float = 0.1

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        same = (labels[:, None] == labels[None, :]) & ~itself  # (b, b)
        anchors = same.any(dim=1)
        if not anchors.any():
            return embeddings.sum() * 0  # nothing to compare: zero, but still part of the graph
        unit = torch.nn.functional.normalize(embeddings, dim=1)
        similarity = (unit @ unit.T / self.temperature).masked_fill(itself, -torch.inf)
        log_p = similarity.log_softmax(dim=1)[anchors]
        return -log_p.masked_fill(~same[anchors], -torch.inf).logsumexp(dim=1).mean()


X, y = load_digits(return_X_y=True)
labeled, unlabeled, test = make_long_tailed_split(
    y, n_labeled=20, n_unlabeled=40, imbalance_ratio=4, n_test_per_class=40, random_state=0
)
clf = DMLPseudoLabelClassifier(metric_loss=NeighborhoodLoss(temperature=0.2), max_rounds=1, random_state=0)
clf.fit(X[labeled], y[labeled], X_unlabeled=X[unlabeled])
print(f"accuracy {clf.score(X[test], y[test]):.2f}")
