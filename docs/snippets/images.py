"""Images: the network is trained from scratch, and left and right mean something."""

import numpy as np
from sklearn.datasets import load_digits

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.augmentations import StrongImageAugmentation
from skdmlpl.datasets import make_long_tailed_split

digits = load_digits()
images, y = (digits.images * 15).astype(np.uint8)[:, None], digits.target  # (n, 1, 8, 8), 0 to 240
labeled, unlabeled, test = make_long_tailed_split(
    y, n_labeled=20, n_unlabeled=40, imbalance_ratio=4, n_test_per_class=40, random_state=0
)
augmentation = StrongImageAugmentation(flip=False)  # a mirrored digit is none
clf = DMLPseudoLabelClassifier(augmentation=augmentation, n_steps=80, random_state=0)
clf.fit(images[labeled], y[labeled], X_unlabeled=images[unlabeled])
print(f"accuracy {clf.score(images[test], y[test]):.2f}")
