"""Deep metric learning based pseudo-labelling for imbalanced semi-supervised classification."""

from skdmlpl._classifier import DMLPseudoLabelClassifier

__version__ = "0.1.0.dev0"

__all__ = ["DMLPseudoLabelClassifier", "__version__"]
