"""Texts: an embedding makes a table of them. The texts here say what functions of scipy do, the labels where."""

import inspect

import numpy as np
from scipy import linalg, ndimage, optimize, signal, stats
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.datasets import make_long_tailed_split


def descriptions(module):
    """Return what stands above the parameters in each docstring of a module."""
    docstrings = {inspect.getdoc(getattr(module, name)) or "" for name in module.__all__}
    return sorted(doc.partition("Parameters\n---")[0] for doc in docstrings if "Parameters\n---" in doc)


by_class = {module.__name__: descriptions(module) for module in (stats, signal, linalg, ndimage, optimize)}
texts = [text for found in by_class.values() for text in found]
y = np.repeat(list(by_class), [len(found) for found in by_class.values()])

frequencies = TfidfVectorizer(sublinear_tf=True, stop_words="english")
embed = make_pipeline(frequencies, TruncatedSVD(60, random_state=0))
X = embed.fit_transform(texts)  # (n, 60), dense; learned from all texts, as it needs no label

labeled, unlabeled, test = make_long_tailed_split(
    y, n_labeled=20, n_unlabeled=40, imbalance_ratio=4, n_test_per_class=20, on_shortage="truncate", random_state=0
)
clf = DMLPseudoLabelClassifier(random_state=0)
clf.fit(X[labeled], y[labeled], X_unlabeled=X[unlabeled])
print(f"accuracy {clf.score(X[test], y[test]):.2f}")
