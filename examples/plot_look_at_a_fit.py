"""
Looking at a fit
================

One number says how good a classifier is, but not where it fails. Three pictures show more: which pseudo-labels each
round gave, where the rows of each class lie in the embedding, and how many rows of each class are found.

The data are handwritten digits, 60 labelled ones of the most frequent digit and 3 of the rarest, and about twice as
many without a label.
"""

# %%
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.datasets import make_long_tailed_split
from skdmlpl.plotting import EmbeddingDisplay, PseudoLabelDisplay, RecallDisplay

X, y = load_digits(return_X_y=True)
labeled, unlabeled, test = make_long_tailed_split(
    y,
    n_labeled=60,
    n_unlabeled=110,
    imbalance_ratio=20,
    n_test_per_class=40,
    on_shortage="truncate",
    random_state=0,
)
clf = DMLPseudoLabelClassifier(random_state=0).fit(X[labeled], y[labeled], X_unlabeled=X[unlabeled])
labels_only = DMLPseudoLabelClassifier(max_rounds=0, random_state=0).fit(X[labeled], y[labeled], X[unlabeled])

# %%
# The pseudo-labels
# -----------------
# Each round labels the unlabelled rows anew, and takes a larger share of each class than the one before. In the table
# on the left, no class should fade from round to round, or grow out of proportion to what you know of the data. On the
# right, the last round covers all rows; by how much the mean weight falls tells how much less certain the rows are that
# came last.
PseudoLabelDisplay.from_estimator(clf)
plt.show()

# %%
# The embedding
# -------------
# Above the network that saw labels only, below the one that was trained on pseudo-labels as well. Large
# marks with a black edge are labelled rows. Around a rare class, look whether the hollow marks, which are test rows and
# have their true class here, lie where its few labelled rows are. A plane cannot show all of an embedding: two classes
# that overlap may be apart in another direction.
figure, axes = plt.subplots(2, figsize=(7, 9), layout="constrained")
for ax, fitted, title in zip(axes, (labels_only, clf), ("Labels only", "With pseudo-labels"), strict=True):
    EmbeddingDisplay.from_estimator(fitted, X[labeled], X[unlabeled], X_test=X[test], y_test=y[test], ax=ax)
    ax.set_title(title)
plt.show()

# %%
# Any transformer to two columns may take the place of PCA:
# ``EmbeddingDisplay.from_estimator(..., reducer=TSNE(random_state=0))``.
#
# The recall of each class
# ------------------------
# Mean recall, the balanced accuracy, hides which classes gained and which lost. Here they run from the most frequent to
# the rarest, with the number of their labelled rows; a bar joins the two classifiers.
RecallDisplay.from_estimator({"labels only": labels_only, "with pseudo-labels": clf}, X[test], y[test])
plt.show()
