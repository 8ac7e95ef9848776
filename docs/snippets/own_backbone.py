"""A network of your own: any function from the input shape to a torch module."""

from sklearn.datasets import load_digits
from torch import nn

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.datasets import make_long_tailed_split


def two_convolutions(input_shape):
    channels, _, _ = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),  # (b, 128)
    )


digits = load_digits()
X, y = digits.images[:, None] / 16, digits.target  # (n, 1, 8, 8)
labeled, unlabeled, test = make_long_tailed_split(
    y, n_labeled=20, n_unlabeled=40, imbalance_ratio=4, n_test_per_class=40, random_state=0
)
clf = DMLPseudoLabelClassifier(backbone=two_convolutions, max_rounds=1, random_state=0)
clf.fit(X[labeled], y[labeled], X_unlabeled=X[unlabeled])
print(f"accuracy {clf.score(X[test], y[test]):.2f}")
