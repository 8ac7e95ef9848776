"""The estimator: parameters, checks and prediction. The method itself is in ``_rounds.py``."""

import contextlib
from collections.abc import Iterator
from functools import partial
from numbers import Integral, Real
from typing import NamedTuple

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
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skdmlpl._mlp import MANY_COLUMNS, mlp
from skdmlpl._network import build_network
from skdmlpl._prior import estimate_prior
from skdmlpl._rounds import Plan, pseudo_label_rounds, softmax
from skdmlpl._rows import Rows
from skdmlpl._training import flush_denormals, forward_in_batches
from skdmlpl._validation import (
    HasMethods,
    Interval,
    check_pseudo_labels,
    check_table_or_images,
    check_unlabeled,
    decode_labels,
    encode_labels,
)
from skdmlpl.augmentations import FeatureCorruption, WeakImageAugmentation
from skdmlpl.backbones import small_resnet
from skdmlpl.interfaces import Augmentation, BackboneFactory, MetricLoss, PseudoLabels, RoundRecord, StopReason
from skdmlpl.losses import ContrastiveLoss
from skdmlpl.selectors import GraphPropagationSelector

__all__ = ["DMLPseudoLabelClassifier"]


class DMLPseudoLabelClassifier(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator):
    r"""Deep metric learning based pseudo-labelling, for few labels and imbalanced classes.

    A network learns to put rows of one class close together, from labelled and unlabelled rows. In its embedding,
    labels spread from the labelled rows to their nearest neighbours and on; the most reliable of these pseudo-labels
    train the network further, and this repeats until every unlabelled row has one. Votes, quotas and losses are
    normalised by class size, so that rare classes are treated as fairly as frequent ones: `predict` aims at a high
    mean recall over the classes, not at a high accuracy on the (imbalanced) training distribution.

    The method follows DML-PL [1]_. Of that paper only the abstract is public: its three modules and its loop are kept,
    and losses, network and schedules are this package's own.

    Parameters
    ----------
    backbone : torch.nn.Module, callable or None, default=None
        The network without its classification head: a module (which is copied, not trained in place) or a function of
        the shape of a row that returns one. It maps (batch, \*row_shape) to (batch, d). None takes
        :func:`skdmlpl.backbones.mlp` for tables and :func:`skdmlpl.backbones.small_resnet` for images.

    metric_loss : callable or None, default=None
        Function of embeddings (b, d) and labels (b,) that returns a scalar; every label-based loss of
        pytorch-metric-learning without parameters of its own fits. None takes
        :class:`skdmlpl.losses.ContrastiveLoss` with `margin`.

    selector : object with a method `select`, callable or None, default=None
        Gives labels and weights to the unlabelled rows, see :class:`skdmlpl.interfaces.Selector`. None takes
        :class:`skdmlpl.selectors.GraphPropagationSelector` with `n_neighbors`.

    augmentation : callable or None, default=None
        Function of a batch and a torch generator that returns an altered copy; two such copies of a row are learned
        to embed close together. None takes :class:`skdmlpl.augmentations.FeatureCorruption` for tables and
        :class:`skdmlpl.augmentations.WeakImageAugmentation` for images, which also mirrors them: turn that off
        (``flip=False``) where left and right mean something, as in digits and letters.

    n_neighbors : int, default=10
        Neighbours of each row in the graph that labels spread over; with fewer rows, all others. Few neighbours follow
        fine structure, many resist wrong labels. Used by the default selector only.

    margin : float, default=0.2
        How much closer a row must be to its own class than to others, in cosine. A larger margin makes classes more
        compact, and harder to fit where they overlap. Used by the default metric loss only.

    max_rounds : int, default=3
        Rounds of pseudo-labelling. The share of rows that have pseudo-labels grows evenly until the last round labels
        all of them. 0 trains on the labelled rows alone. More rounds cost time in proportion and change less each.

    n_steps : int or None, default=None
        Gradient steps of round 0; each later round takes half as many. More steps cost time in proportion, and overfit
        few labels in the end. None takes twice the number of labelled rows: at least 100 and at most 1,200 for tables,
        400 for those of 50 columns or more; 500 to 2,000 for images and for a `backbone` of your own.

    batch_size : int, default=128
        Rows per gradient step. Smaller batches are faster per step and noisier, and give the metric loss less to
        compare.

    learning_rate : float, default=2e-3
        Peak learning rate of AdamW. Lower it for pretrained backbones.

    weight_decay : float or None, default=None
        Decoupled weight decay. More of it resists overfitting and slows learning. None takes 1 for tables, 3
        for those of 50 columns or more, and 0.05 for images and for a `backbone` of your own.

    metric_weight : float or None, default=None
        Weight of the metric loss against the classification loss; 0 leaves deep metric learning out. A high weight
        makes the classes compact, which pays where the network has an embedding to learn, and overfits where the rows
        are embeddings already. None takes 0.05 for tables and 0.3 for images.

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

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` has names that are all strings.

    transduction_ : ndarray of shape (n_rows,)
        Labels of all rows given to fit, X's and then X_unlabeled's. Given labels are unchanged; rows that never got a
        label hold -1 (None where labels are not numbers).

    labeled_iter_ : ndarray of shape (n_rows,), int
        Round since which each row has had its label: 0 for given labels, -1 for rows that never got one.

    label_distributions_ : ndarray of shape (n_rows, n_classes)
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
        "batch_size": [Interval(Integral, 4, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left"), None],
        "metric_weight": [Interval(Real, 0, None, closed="left"), None],
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
        batch_size=128,
        learning_rate=2e-3,
        weight_decay=None,
        metric_weight=None,
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

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, X_unlabeled=None):
        """Fit the network to labelled and unlabelled rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
            Rows of a table, or images, of any real dtype. Images of dtype uint8 are scaled to [0, 1]. The data are
            read batch by batch: an array or a memory map is not copied.

        y : array-like of shape (n_samples,)
            Labels: numbers, strings or booleans. Unlabelled rows are marked by -1 where labels are numbers, and by
            None or NaN in any case. If `y` holds the numbers -1 and 1 and nothing else, both are classes: with -1
            unlabelled, only one class would be left.

        X_unlabeled : array-like of shape (n_unlabeled, ...) or None, default=None
            More unlabelled rows, of the same kind as those of `X`. Beware of cross-validation: scikit-learn cuts every
            fit argument that is as long as `X` along with it, and passes longer or shorter ones whole. Unlabelled rows
            in `X`, marked in `y`, are safe from that.

        Returns
        -------
        DMLPseudoLabelClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If an argument or a parameter does not fit; the message names it and says what it must be.
        TypeError
            If a part returns something of the wrong type, or the labels are of different types.
        """
        X = check_table_or_images(self, X, reset=True)
        classes, codes = encode_labels(y, len(X))
        X_unlabeled = check_unlabeled(self, X_unlabeled, X)
        codes = np.concatenate([codes, np.full(len(X_unlabeled), -1)])
        parts = _resolve_parts(self, is_table=X.ndim == 2)
        device = _resolve_device(self.device)
        seed = _draw_seed(self.random_state)

        with _isolated_torch(seed, device):
            rows = Rows(X, X_unlabeled, device=device)
            network = build_network(parts.backbone, rows[np.arange(min(2, len(rows)))], len(classes))
            rows.dtype = network.input_dtype
            network.adapt(rows)
            rounds = pseudo_label_rounds(
                network,
                rows,
                codes,
                len(classes),
                select=parts.select,
                metric_loss=parts.metric_loss,
                augment=parts.augment,
                augment_classification=parts.augment_classification,
                plan=self._plan(n_labeled=np.count_nonzero(codes >= 0), row_shape=X.shape[1:]),
                generator=torch.Generator().manual_seed(seed),
            )
            history = list(self._reported(rounds, n_unlabeled=np.count_nonzero(codes < 0)))
            # In float64, where the backbone takes it, predictions for a row are the same whatever rows come with it; in
            # float32 they differ in the last digit, as matrix products round differently by position.
            network.to(network.input_dtype)
            _, logits = forward_in_batches(network, rows)

        self.classes_ = classes
        self.network_ = network
        self.history_ = history
        self.n_rounds_ = len(history) - 1
        self._row_shape = X.shape[1:]
        self._describe_rows(codes, logits)
        return self

    def predict(self, X):
        """Predict labels, as if all classes were equally frequent.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
            Rows of the kind given to fit.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels, of the dtype of `classes_`.
        """
        _, logits = self._forward(X)
        return self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X):
        """Predict class probabilities, as if all classes were equally frequent.

        For rows whose class frequencies `prior` are known, multiply by them and scale the rows to sum to 1.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
            Rows of the kind given to fit.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Columns in the order of `classes_`.
        """
        _, logits = self._forward(X)
        return softmax(logits.astype(np.float64))

    def transform(self, X):
        """Embed rows: rows of one class are close to each other, by Euclidean distance or cosine.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
            Rows of the kind given to fit.

        Returns
        -------
        ndarray of shape (n_samples, embedding_dim)
            Rows of length 1; float64 from the default network for tables, else float32.
        """
        embeddings, _ = self._forward(X)
        return embeddings

    @property
    def _n_features_out(self):
        return self.network_.head.in_features

    def _forward(self, X):
        """Return embeddings and logits of new rows."""
        check_is_fitted(self, "network_")
        X = check_table_or_images(self, X, reset=False)
        if X.shape[1:] != self._row_shape:
            raise ValueError(
                f"X must have rows of the shape given to fit, {self._row_shape}. Got {X.shape[1:]} instead."
            )
        network = self.network_
        return forward_in_batches(network, Rows(X, dtype=network.input_dtype, device=network.head.weight.device))

    def _plan(self, *, n_labeled: int, row_shape: tuple[int, ...]) -> Plan:
        """Fill in the numbers that were left to us, by the shape and the number of the rows."""
        images = len(row_shape) > 1
        if images or self.backbone is not None:
            steps, weight_decay = (500, 2000), 0.05
        elif row_shape[0] < MANY_COLUMNS:
            steps, weight_decay = (100, 1200), 1.0
        else:
            # Rows this wide are embeddings or pixels as a rule: little is left to learn, and much to overfit.
            steps, weight_decay = (100, 400), 3.0
        n_steps = int(np.clip(2 * n_labeled, *steps))
        metric_weight = 0.3 if images else 0.05
        return Plan(
            max_rounds=self.max_rounds,
            n_steps=n_steps if self.n_steps is None else self.n_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=weight_decay if self.weight_decay is None else self.weight_decay,
            metric_weight=metric_weight if self.metric_weight is None else self.metric_weight,
        )

    def _reported(self, rounds: Iterator[RoundRecord], n_unlabeled: int) -> Iterator[RoundRecord]:
        """Pass records on, printing a line for each where `verbose`."""
        for record in rounds:
            if self.verbose:
                print(
                    f"[DMLPseudoLabelClassifier] round {record.round} of {self.max_rounds}: "
                    f"{record.n_pseudo_labeled} of {n_unlabeled} rows pseudo-labelled, "
                    f"mean weight {record.mean_weight:.2f}, classification loss {record.classification_loss:.3f}, "
                    f"metric loss {record.metric_loss:.3f}, {record.seconds:.1f} s"
                )
            yield record

    def _describe_rows(self, codes: np.ndarray, logits: np.ndarray) -> None:
        """Set the attributes that speak of the rows given to fit: labels, their origin, their probabilities."""
        given = codes >= 0
        labels, labeled_iter = codes.copy(), np.where(given, 0, -1)
        for record in self.history_:
            new = record.pseudo_labels.labels
            changed = np.flatnonzero(~given)[new != labels[~given]]
            labels[~given] = new
            labeled_iter[changed] = np.where(labels[changed] >= 0, record.round, -1)
        self.transduction_ = decode_labels(self.classes_, labels)
        self.labeled_iter_ = labeled_iter

        if given.all():
            self.unlabeled_prior_ = np.bincount(codes) / len(codes)
            reason = StopReason.NO_UNLABELED
        else:
            self.unlabeled_prior_ = estimate_prior(softmax(logits[~given]))
            reason = StopReason.ALL_LABELED if (labels >= 0).all() else StopReason.MAX_ROUNDS
        self.termination_condition_ = str(reason)
        proba = softmax(logits + np.log(self.unlabeled_prior_))
        proba[given] = np.eye(len(self.classes_))[codes[given]]
        self.label_distributions_ = proba


class _Parts(NamedTuple):
    backbone: nn.Module | BackboneFactory
    metric_loss: MetricLoss
    select: object
    augment: Augmentation
    augment_classification: bool


def _resolve_parts(estimator: DMLPseudoLabelClassifier, *, is_table: bool) -> _Parts:
    """Copy the parts the caller gave, and put the built-in ones where there are none."""

    def given_or(part, default):
        return default if part is None else clone(part, safe=False)

    selector = given_or(estimator.selector, GraphPropagationSelector(n_neighbors=estimator.n_neighbors))
    if isinstance(selector, type):
        raise TypeError(
            "The 'selector' parameter of DMLPseudoLabelClassifier must be an object with a method 'select', or a "
            f"function. Got the class {selector.__name__} instead: give an instance of it."
        )
    return _Parts(
        # Copied or called when the network is built.
        backbone=estimator.backbone if estimator.backbone is not None else (mlp if is_table else small_resnet),
        metric_loss=given_or(estimator.metric_loss, ContrastiveLoss(margin=estimator.margin)),
        select=partial(_checked_select, getattr(selector, "select", selector)),
        augment=given_or(estimator.augmentation, FeatureCorruption() if is_table else WeakImageAugmentation()),
        augment_classification=not is_table,
    )


def _checked_select(select, embeddings: np.ndarray, y: np.ndarray, proba: np.ndarray) -> PseudoLabels:
    return check_pseudo_labels(select(embeddings, y, proba), n_samples=len(y), n_classes=proba.shape[1])


def _resolve_device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            "The 'device' parameter of DMLPseudoLabelClassifier must be a device torch can use here, such as 'cpu' or "
            f"'cuda'. Got {device!r} instead: {error}"
        ) from error
    return torch.device(device)


def _draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Return a seed; neither numpy's nor torch's global state is read or advanced."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return int(random_state)


@contextlib.contextmanager
def _isolated_torch(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch inside, and leave its random state, gradient mode and denormal mode as they were."""
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.inference_mode(False),
        torch.enable_grad(),
        flush_denormals(),
    ):
        torch.manual_seed(seed)
        yield
