"""Deep metric learning based pseudo-labelling for imbalanced semi-supervised classification."""

__version__ = "0.1.0.dev0"
