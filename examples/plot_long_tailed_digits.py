"""
Long-tailed digits: what the unlabelled rows add
================================================

Handwritten digits with few labels: 60 for the most frequent digit and 3 for the rarest, and some 90 rows of every digit
without a label. All classifiers see the same rows, and are scored on the same 40 test rows of every digit by their
balanced accuracy (bACC, the mean of the classes' recalls) and the geometric mean of these recalls (GM, which is low as
soon as one class is lost), in percent, over five random splits.

With ``unlabeled_distribution="consistent"`` the unlabelled rows would be as imbalanced as the labelled ones. They would
hold few rows of the rare digits, and add next to nothing here.

*labels only* is the same network and the same training without the unlabelled rows. *all labels* is told the true
labels of the unlabelled rows: the gap between these two is what unlabelled rows can help to close.
"""

# %%
# The rows
# --------
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.datasets import make_long_tailed_split

X, y = load_digits(return_X_y=True)
n_classes = 10
splits = [
    make_long_tailed_split(
        y,
        n_labeled=60,
        n_unlabeled=90,
        imbalance_ratio=20,
        unlabeled_distribution="uniform",
        n_test_per_class=40,
        on_shortage="truncate",
        random_state=seed,
    )
    for seed in range(5)
]
labeled, unlabeled, _ = splits[0]
print("labelled rows of each digit:  ", np.bincount(y[labeled]))
print("unlabelled rows of each digit:", np.bincount(y[unlabeled]))

# %%
# The classifiers
# ---------------
# scikit-learn's take labelled and unlabelled rows in one array, with -1 for "no label"; ours takes them either way.


def labels_only(seed):
    return DMLPseudoLabelClassifier(max_rounds=0, random_state=seed)


def logistic_regression():
    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))


def self_training():
    base = LogisticRegression(class_weight="balanced", max_iter=1000)
    return make_pipeline(StandardScaler(), SelfTrainingClassifier(base))


def label_spreading():
    return make_pipeline(StandardScaler(), LabelSpreading(kernel="knn", n_neighbors=7))


def fit_all(split, seed):
    """Return the fitted classifiers of one split by name."""
    labeled, unlabeled, _ = split
    rows = np.concatenate([labeled, unlabeled])
    marked = np.concatenate([y[labeled], np.full(len(unlabeled), -1)])
    return {
        "logistic regression, labels only": logistic_regression().fit(X[labeled], y[labeled]),
        "SelfTrainingClassifier": self_training().fit(X[rows], marked),
        "LabelSpreading": label_spreading().fit(X[rows], marked),
        "skdmlpl, labels only": labels_only(seed).fit(X[labeled], y[labeled]),
        "skdmlpl": DMLPseudoLabelClassifier(random_state=seed).fit(X[labeled], y[labeled], X[unlabeled]),
        "skdmlpl, all labels": labels_only(seed).fit(X[rows], y[rows]),
    }


# %%
# The result
# ----------
started = time.perf_counter()
recalls = {}  # name -> one row of class recalls per split
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)
    for seed, split in enumerate(splits):
        fitted = fit_all(split, seed)
        for name, clf in fitted.items():
            recall = recall_score(y[split.test], clf.predict(X[split.test]), average=None)
            recalls.setdefault(name, []).append(recall)
recalls = {name: np.array(rows) for name, rows in recalls.items()}  # (n_splits, n_classes)


def geometric_mean(recall):
    """Return the geometric mean of recalls (..., n_classes); a recall of 0 counts as 1 / (100 n_classes)."""
    return np.exp(np.log(np.maximum(recall, 1 / (100 * n_classes))).mean(axis=-1))


print(f"{'':34}{'bACC':>12}{'GM':>14}")
for name, recall in recalls.items():
    bacc, gm = 100 * recall.mean(axis=1), 100 * geometric_mean(recall)
    print(f"{name:34}{bacc.mean():6.1f} ± {bacc.std():.1f}  {gm.mean():8.1f} ± {gm.std():.1f}")
print(f"\n{len(splits)} splits, {time.perf_counter() - started:.0f} s")

# %%
# Where the gain comes from
# -------------------------
# Left: the recall of every digit, from the most frequent to the rarest. Right: how many of the unlabelled rows of the
# last split have a pseudo-label after each round, by digit.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name, marker in {"skdmlpl, labels only": "o", "skdmlpl": "s"}.items():
    left.plot(100 * recalls[name].mean(axis=0), marker=marker, label=name)
left.set(xlabel="digit, frequent to rare", ylabel="recall on the test rows, %", xticks=range(n_classes))
left.legend()

history = fitted["skdmlpl"].history_[1:]
bottom = np.zeros(len(history))
colors = plt.get_cmap("viridis")(np.linspace(0, 1, n_classes))
for digit in range(n_classes):
    counts = np.array([record.class_counts[digit] for record in history])
    right.bar([record.round for record in history], counts, bottom=bottom, color=colors[digit], label=digit)
    bottom += counts
right.axhline(len(splits[-1].unlabeled), color="grey", linestyle=":")
right.set(xlabel="round", ylabel="rows with a pseudo-label", xticks=[record.round for record in history])
right.legend(title="digit", loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
