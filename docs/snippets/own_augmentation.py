"""An augmentation of your own, and its test: any function of a batch and a generator."""

import torch
from sklearn.datasets import load_digits

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.checks import check_augmentation
from skdmlpl.datasets import make_long_tailed_split


def add_noise(batch, generator):
    noise = torch.randn(batch.shape, generator=generator, device=generator.device)
    return batch + 2 * noise.to(batch)  # grey values lie between 0 and 16


def test_add_noise():
    check_augmentation(add_noise, input_shape=(64,))


X, y = load_digits(return_X_y=True)
labeled, unlabeled, test = make_long_tailed_split(
    y, n_labeled=20, n_unlabeled=40, imbalance_ratio=4, n_test_per_class=40, random_state=0
)
test_add_noise()
clf = DMLPseudoLabelClassifier(augmentation=add_noise, max_rounds=1, n_steps=100, random_state=0)
clf.fit(X[labeled], y[labeled], X_unlabeled=X[unlabeled])
print(f"accuracy {clf.score(X[test], y[test]):.2f}")
