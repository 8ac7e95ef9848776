"""The estimator: parameters, checks and prediction. The method itself is in ``_rounds.py``."""

from numbers import Integral, Real
from time import perf_counter

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted

from skdmlpl._network import EmbeddingNetwork, build_network
from skdmlpl._rounds import Plan, pseudo_label_rounds
from skdmlpl._rows import Rows
from skdmlpl._training import flush_denormals, forward_in_batches
from skdmlpl._validation import check_table_or_images, check_unlabeled, decode_labels, encode_labels
from skdmlpl.interfaces import BackboneFactory, MetricLoss, RoundRecord, Selector, StopReason

__all__ = ["DMLPseudoLabelClassifier"]


class DMLPseudoLabelClassifier(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator
):
    """Deep metric learning based pseudo-labelling, for few labels and imbalanced classes.

    A network learns to put rows of one class close together, from labelled and unlabelled rows. The labelled rows are
    clustered in its embedding, unlabelled rows take the labels of the clusters nearest to them, the network is
    fine-tuned on both, and this repeats until every unlabelled row has a pseudo-label. Votes, quotas and losses are
    normalised by class size, so that rare classes are treated as fairly as frequent ones: `predict` aims at a high
    mean recall over the classes, not at a high accuracy on the (imbalanced) training distribution.

    The method follows DML-PL [1]_. Of that paper only the abstract is public: its three modules and its loop are kept,
    and losses, network and schedules are this package's own.

    Parameters
    ----------
    backbone : torch.nn.Module, callable or None, default=None
        The network without its classification head: a module (which is copied, not trained in place) or a function of
        the shape of a row that returns one. It maps (batch, \\*row_shape) to (batch, d). None takes
        :func:`skdmlpl.backbones.mlp` for tables and :func:`skdmlpl.backbones.small_resnet` for images.

    metric_loss : callable or None, default=None
        Function of embeddings (b, d) and labels (b,) that returns a scalar; every label-based loss of
        pytorch-metric-learning fits. None takes :class:`skdmlpl.losses.ContrastiveLoss` with `margin`.

    selector : object with a method `select`, callable or None, default=None
        Gives labels and weights to the unlabelled rows, see :class:`skdmlpl.interfaces.Selector`. None takes
        :class:`skdmlpl.selectors.NearestNeighborSelector` with `n_neighbors`.

    augmentation : callable or None, default=None
        Function of a batch and a torch generator that returns an altered copy; two such copies of a row are learned
        to embed close together. None takes :class:`skdmlpl.augmentations.FeatureCorruption` for tables and
        :class:`skdmlpl.augmentations.WeakImageAugmentation` for images.

    n_neighbors : int, default=10
        Neighbours that vote on a pseudo-label, per class; a class with fewer labelled rows gives what it has. Few
        neighbours follow fine structure, many resist wrong labels. Used by the default selector only.

    margin : float, default=0.2
        How much closer a row must be to its own class than to others, in cosine. A larger margin makes classes more
        compact, and harder to fit where they overlap. Used by the default metric loss only.

    max_rounds : int, default=3
        Rounds of pseudo-labelling. The share of rows that have pseudo-labels grows evenly until the last round labels
        all of them. 0 trains on the labelled rows alone. More rounds cost time in proportion and change less each.

    n_steps : int or None, default=None
        Gradient steps on the labelled rows in round 0; each later round takes half as many. None derives it from the
        number of labelled rows. More steps cost time in proportion.

    batch_size : int, default=256
        Rows per gradient step. Smaller batches are faster per step and noisier, and give the metric loss less to
        compare.

    learning_rate : float, default=2e-3
        Peak learning rate of AdamW. Lower it for pretrained backbones.

    weight_decay : float, default=1e-2
        Decoupled weight decay. More of it resists overfitting and slows learning.

    metric_weight : float, default=0.3
        Weight of the metric loss against the classification loss while fine-tuning; 0 leaves deep metric learning
        out.

    device : str, torch.device or None, default=None
        Where to train and predict. None takes a CUDA device if there is one, else the CPU.

    random_state : int, RandomState instance or None, default=None
        Seeds everything: initial weights, batches, augmentation. An int makes two fits equal (on a CPU). With None,
        each fit differs; no global random state is read or advanced.

    verbose : int, default=0
        1 prints one line a round.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The distinct labels.

    n_features_in_ : int
        Number of features seen during `fit`; for images, of channels.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `X` has names that are all strings.

    transduction_ : ndarray of shape (n_rows,)
        Labels of all rows given to fit, X's and then X_unlabeled's. Given labels are unchanged; rows that never got a
        label hold -1 (None where labels are not numbers).

    labeled_iter_ : ndarray of shape (n_rows,), int
        Round since which each row has had its label: 0 for given labels, -1 for rows that never got one.

    label_distributions_ : ndarray of shape (n_rows, n_classes), float32
        Class probabilities of those rows, under the estimated class distribution of the unlabelled rows; one-hot for
        given labels.

    unlabeled_prior_ : ndarray of shape (n_classes,), float64
        Estimated class distribution of the unlabelled rows. Without unlabelled rows, that of the labelled ones.

    termination_condition_ : str
        Why the rounds ended, see :class:`skdmlpl.interfaces.StopReason`.

    n_rounds_ : int
        Rounds of pseudo-labelling that were run.

    history_ : list of RoundRecord
        One record for each round, see :class:`skdmlpl.interfaces.RoundRecord`.

    network_ : EmbeddingNetwork
        The trained torch module: a batch to unit-length embeddings and logits.

    References
    ----------
    .. [1] M. Yan, S. C. Hui, N. Li. "DML-PL: Deep metric learning based pseudo-labeling framework for class imbalanced
       semi-supervised learning". Information Sciences 626 (2023) 641-657. :doi:`10.1016/j.ins.2023.01.074`

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdmlpl import DMLPseudoLabelClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> labeled = [*range(20), *range(50, 55), *range(100, 103)]
    >>> clf = DMLPseudoLabelClassifier(random_state=0)
    >>> clf = clf.fit(X[labeled], y[labeled], X_unlabeled=X)
    >>> clf.score(X, y) > 0.9
    True
    """

    _parameter_constraints: dict = {
        "backbone": [callable, None],
        "metric_loss": [callable, None],
        "selector": [HasMethods("select"), callable, None],
        "augmentation": [callable, None],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "margin": [Interval(Real, 0, None, closed="left")],
        "max_rounds": [Interval(Integral, 0, None, closed="left")],
        "n_steps": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "metric_weight": [Interval(Real, 0, None, closed="left")],
        "device": [str, torch.device, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        backbone=None,
        metric_loss=None,
        selector=None,
        augmentation=None,
        *,
        n_neighbors=10,
        margin=0.2,
        max_rounds=3,
        n_steps=None,
        batch_size=256,
        learning_rate=2e-3,
        weight_decay=1e-2,
        metric_weight=0.3,
        device=None,
        random_state=None,
        verbose=0,
    ):
        self.backbone = backbone
        self.metric_loss = metric_loss
        self.selector = selector
        self.augmentation = augmentation
        self.n_neighbors = n_neighbors
        self.margin = margin
        self.max_rounds = max_rounds
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.metric_weight = metric_weight
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
