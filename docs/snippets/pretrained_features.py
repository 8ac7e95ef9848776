"""Features of a pretrained network, computed once, as the columns of a table."""

from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from torchvision.models import resnet18

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.backbones import torchvision_backbone
from skdmlpl.datasets import make_long_tailed_split


def embed(network, images, batch_size=256):
    """Return features (n, d) of uint8 images (n, channels, height, width)."""
    network.eval()
    with torch.inference_mode():
        features = [
            network(torch.from_numpy(images[start : start + batch_size]) / 255)
            for start in range(0, len(images), batch_size)
        ]
    return torch.cat(features).numpy()


digits = load_digits()
images = np.kron(digits.images * 15, np.ones((3, 3))).astype(np.uint8)[:, None]  # (n, 1, 24, 24)
y = digits.target
weights = None  # random; "DEFAULT" downloads those that were trained on ImageNet
network = torchvision_backbone(partial(resnet18, weights=weights), pixel_max=1)(images.shape[1:])
X = embed(network, images)  # (n, 512)

labeled, unlabeled, test = make_long_tailed_split(
    y, n_labeled=20, n_unlabeled=40, imbalance_ratio=4, n_test_per_class=40, random_state=0
)
clf = DMLPseudoLabelClassifier(random_state=0)
clf.fit(X[labeled], y[labeled], X_unlabeled=X[unlabeled])
print(f"accuracy {clf.score(X[test], y[test]):.2f}")
