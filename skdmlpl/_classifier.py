"""The estimator: parameters, checks and prediction. The method itself is in ``_rounds.py``."""

import copy
import warnings
from dataclasses import replace
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skdmlpl._cross_validation import choose_plan
from skdmlpl._defaults import resolve_networks, resolve_plans
from skdmlpl._labels import decode_labels, encode_labels, missing_labels
from skdmlpl._network import Committee, build_committee
from skdmlpl._parts import resolve_parts
from skdmlpl._persistence import pack, unpack
from skdmlpl._prior import estimate_prior
from skdmlpl._progress import print_choice, run_rounds, step_printer
from skdmlpl._rounds import pseudo_label_rounds, softmax
from skdmlpl._rows import Rows
from skdmlpl._runtime import all_or_nothing, draw_seed, isolated_torch, resolve_device
from skdmlpl._training import classify_in_batches, embed_in_batches
from skdmlpl._validation import (
    HasMethods,
    Interval,
    check_rows_like,
    check_table_or_images,
    check_unlabeled,
    take_rows,
)
from skdmlpl.interfaces import StopReason

__all__ = ["DMLPseudoLabelClassifier"]


class DMLPseudoLabelClassifier(
    CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator
):
    r"""Deep metric learning based pseudo-labelling, for few labels and imbalanced classes.

    A network learns to put rows of one class close together, from labelled and unlabelled rows. In its embedding (of
    tables, beside the rows themselves) labels spread from the labelled rows to their nearest neighbours and on; the
    most reliable of these pseudo-labels train the network further, and this repeats until every unlabelled row has one.
    Votes, quotas and losses are normalised by class size, so that rare classes are treated as fairly as frequent ones:
    `predict` aims at a high mean recall over the classes, not at a high accuracy on the (imbalanced) training
    distribution.

    The method follows DML-PL [1]_. Of that paper only the abstract is public: its three modules and its loop are kept,
    and losses, network and schedules are this package's own.

    Parameters
    ----------
    backbone : torch.nn.Module, callable or None, default=None
        The network without its classification head: a module (which is copied, not trained in place) or a function of
        the shape of a row that returns one. It maps (batch, \*row_shape) to (batch, d). None takes
        :func:`skdmlpl.backbones.mlp` for tables and :func:`skdmlpl.backbones.small_convnet` for images.

    metric_loss : callable or None, default=None
        Function of embeddings (b, d) and labels (b,) that returns a scalar; every label-based loss of
        pytorch-metric-learning without parameters of its own fits. None takes
        :class:`skdmlpl.losses.ContrastiveLoss` with `margin`.

    selector : object with a method `select`, callable or None, default=None
        Gives labels and weights to the unlabelled rows, see :class:`skdmlpl.interfaces.Selector`. None takes
        :class:`skdmlpl.selectors.GraphPropagationSelector` with `n_neighbors`, and with as much `trust` as neighbours
        deserve: all of it, but for tables where they mislead on labelled rows that are held out.

    augmentation : callable or None, default=None
        Function of a batch and a torch generator that returns an altered copy. Two such copies of a table's row are
        learned to embed close together; images are altered wherever they are trained on. None takes
        :class:`skdmlpl.augmentations.FeatureCorruption` for tables and
        :class:`skdmlpl.augmentations.StrongImageAugmentation` for images, which also mirrors them: turn that off
        (``flip=False``) where left and right mean something, as in digits and letters. Where an augmentation's
        attribute `flip` is true, images are predicted from both sides, too.

    n_neighbors : int, default=10
        Neighbours of each row in the graph that labels spread over; with fewer rows, all others. Few neighbours follow
        fine structure, many resist wrong labels. Used by the default selector only.

    margin : float, default=0.2
        How much closer a row must be to its own class than to others, in cosine. A larger margin makes classes more
        compact, and harder to fit where they overlap. Used by the default metric loss only.

    max_rounds : int, default=3
        Rounds of pseudo-labelling. The share of rows that have pseudo-labels grows evenly until the last round labels
        all of them. 0 learns from the labelled rows alone, as if there were no others. More rounds cost time in
        proportion and change less each.

    n_networks : int or None, default=None
        Networks that are trained side by side and judge each other's rows: each labels a part of the unlabelled rows,
        and is not trained on these labels until the last round. One network alone labels all rows, and believes in its
        own mistakes. Prediction takes the mean of all. Time and memory of the networks grow in proportion. None takes 2
        for tables with 1,000 unlabelled rows or more, and 1 for tables with fewer, for images, for a `backbone` of your
        own and where `max_rounds` is 0 or every row has a label. To tables of fewer than 50 columns, None then adds a
        network that learns from the labelled rows alone, as a fit without the others would: where pseudo-labels mislead
        the rest, it keeps the mean from following.

    n_steps : int or None, default=None
        Gradient steps of round 0; each later round takes half as many. More steps cost time in proportion, and overfit
        few labels in the end, above all where classes overlap. None takes as many as there are labelled rows, rising
        from 128 of them on to twice as many from 256 on, within limits: 50 to 1,200 for tables, 50 to 400 for those of
        50 columns or more, 1,500 to 4,000 for images, 500 to 4,000 for a `backbone` of your own. Later
        rounds of tables go by a fourth of the unlabelled rows instead, if these are more. Small tables, of fewer than
        50 columns and 256 labelled rows, differ widely in how long to train. Where `backbone`, `learning_rate` and
        `weight_decay` are None too, a second choice is tried on them, four steps for each labelled row, 200 to 512 in
        all, with eight times the rate and twice the decay; it is taken if it tells held-out labelled rows better. The
        metric loss is left out of these trials.

    batch_size : int, default=128
        Rows per gradient step. Smaller batches are faster per step and noisier, and give the metric loss less to
        compare.

    learning_rate : float or None, default=None
        Peak learning rate of AdamW. Lower it for pretrained backbones. None takes 2e-3, and 0.016 with the longer
        training that small tables may take, see `n_steps`.

    weight_decay : float or None, default=None
        Decoupled weight decay. More of it resists overfitting and slows learning. None takes 1 for tables and images, 2
        with the longer training that small tables may take, 3 for tables of 50 columns or more, and 0.05 for a
        `backbone` of your own.

    metric_weight : float or None, default=None
        Weight of the metric loss against the classification loss; 0 leaves deep metric learning out. A high weight
        makes the classes compact: it pays where rows have few columns, overfits where they are embeddings already, and
        makes a network slow to learn to see. None takes 0.05 for tables, and 0.01 for those of 50 columns or more and
        for images.

    device : str, torch.device or None, default=None
        Where to train and predict. None takes a CUDA device if there is one, else the CPU. The default network for
        tables computes in float64, which Apple's "mps" cannot. A saved estimator is loaded on the CPU;
        ``network_.to(device)`` moves it.

    random_state : int, RandomState instance or None, default=None
        Seeds everything: initial weights, batches, augmentation. An int makes two fits equal (on a CPU). With None,
        each fit differs; no global random state is read or advanced.

    verbose : int, default=0
        1 prints one line a round, and one every half minute within a long one; before them, for small tables, how they
        are trained, see `n_steps`. For progress bars, or a score for each round, give callbacks of
        :mod:`sklearn.callback` to ``set_callbacks``.

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
        label hold -1, NaN where -1 and 1 are the classes, and None where labels are not numbers.

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

    n_steps_ : int
        Gradient steps of round 0, as given or chosen.

    learning_rate_, weight_decay_ : float
        Peak learning rate and decoupled weight decay, as given or chosen.

    history_ : list of RoundRecord
        One record for each round, see :class:`skdmlpl.interfaces.RoundRecord`;
        :func:`skdmlpl.inspection.history_frame` makes a DataFrame of it.

    network_ : EmbeddingNetwork or Committee
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
        "n_networks": [Interval(Integral, 1, None, closed="left"), None],
        "n_steps": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 4, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
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
        n_networks=None,
        n_steps=None,
        batch_size=128,
        learning_rate=None,
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
        self.n_networks = n_networks
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
            Rows of a table, or images, of any real dtype. Images of dtype uint8 are scaled to [0, 1]; those given
            later must then be uint8 too. The data are read batch by batch: an array or a memory map is not copied.

        y : array-like of shape (n_samples,)
            Labels: numbers, strings or booleans. Unlabelled rows are marked by -1 where labels are numbers, and by
            None or NaN in any case. If `y` holds the numbers -1 and 1 and nothing else, both are classes: with -1
            unlabelled, only one class would be left. The strings "-1", "-1.0", "nan" and "<NA>", which -1, NaN and NA
            become in an array of strings, are refused.

        X_unlabeled : array-like of shape (n_unlabeled, ...) or None, default=None
            More unlabelled rows, of the same kind as those of `X`. Beware of cross-validation: scikit-learn cuts every
            fit argument that is as long as `X` along with it, and passes longer or shorter ones whole. `fit` warns
            where the lengths are equal. Unlabelled rows in `X`, marked in `y`, are safe from that:
            :func:`skdmlpl.model_selection.stack_unlabeled` puts them there, and
            :class:`skdmlpl.model_selection.LabeledStratifiedKFold` keeps them out of the test folds.

        Returns
        -------
        DMLPseudoLabelClassifier
            The fitted estimator. If the fit fails on the way or is interrupted, the estimator is left unfitted, also
            where it was fitted before. A parameter out of its range is refused before, and an earlier fit kept.

        Raises
        ------
        ValueError
            If an argument or a parameter does not fit; the message names it and says what it must be.
        TypeError
            If a part returns something of the wrong type, or the labels are of different types.
        """
        with all_or_nothing(self):
            self._fit(X, y, X_unlabeled)
        return self

    def _fit(self, X_given, y, X_unlabeled) -> None:
        X = check_table_or_images(self, X_given)
        classes, codes = encode_labels(y, len(X))
        X_unlabeled = check_unlabeled(self, X_unlabeled, X)
        labeled = np.flatnonzero(codes >= 0)
        codes = np.concatenate([codes, np.full(len(X_unlabeled), -1)])
        parts = resolve_parts(self, is_table=X.ndim == 2)
        device = resolve_device(self.device)
        seed = draw_seed(self.random_state)
        n_rounds = int(self.max_rounds) if len(labeled) < len(codes) else 0  # numpy's small integers overflow
        n_unlabeled = len(codes) - len(labeled)
        plans = resolve_plans(
            self, row_shape=X.shape[1:], n_labeled=len(labeled), n_unlabeled=n_unlabeled, n_rounds=n_rounds
        )
        # Callbacks score on the labelled rows: for the others there is no right answer.
        data = {"X": lambda: take_rows(X_given, labeled), "y": lambda: classes[codes[labeled]]}
        context = self._init_callback_context(max_subtasks=1 + n_rounds)
        context.call_on_fit_task_begin(estimator=self, **data)

        rows = Rows(X, X_unlabeled, device=device)
        n_networks, with_supervised = resolve_networks(self, row_shape=X.shape[1:], n_unlabeled=n_unlabeled)

        def start(plan, known=codes, n_networks=1, on_step=None):
            """Return new networks, and the rounds that will train them on the labels ``known``."""
            example = rows[np.arange(min(2, len(rows)))]
            network = build_committee(parts.backbone, example, len(classes), n_networks=n_networks, mirror=parts.mirror)
            rows.dtype = network.input_dtype
            # What learns from the labelled rows alone knows nothing of the others, not even their mean.
            network.adapt(rows, np.flatnonzero(known >= 0) if plan.n_rounds == 0 else None, known)
            return network, pseudo_label_rounds(
                network,
                rows,
                known,
                len(classes),
                select=parts.select,
                metric_loss=parts.metric_loss,
                augment=parts.augment,
                augment_classification=parts.augment_classification,
                plan=plan,
                generator=torch.Generator().manual_seed(seed),
                on_step=on_step,
            )

        def learn(plan, known=codes):
            """Return the network that a fit to the labelled rows alone ends with, or to those that ``known`` labels."""
            with isolated_torch(seed, device):
                network, rounds = start(replace(plan, n_rounds=0), known)
                next(rounds)
            return network

        def classify_after(plan, known, held_out):
            # The metric loss would take half of the time, and hardly changes which plan is better.
            return classify_in_batches(learn(replace(plan, metric_weight=0.0), known), rows, held_out)

        with isolated_torch(seed, device):
            plan = choose_plan(plans, codes, classify_after, torch.Generator().manual_seed(seed))
        if len(plans) > 1:
            print_choice(self, plan)
        supervised = [learn(plan)] if with_supervised else []

        def predictor(network):
            """Return the attributes that prediction needs."""
            if supervised:
                network = Committee([*network.members, *supervised])
            # In float64, where the backbone takes it, predictions for a row are the same whatever rows come with it; in
            # float32 they differ in the last digit, as matrix products round differently by position.
            if torch.finfo(network.input_dtype).bits > 32:
                network = network.to(network.input_dtype)
            # No rows at all, but of the kind that fit was given: their shape and dtype.
            return {"classes_": classes, "network_": network, "_no_rows": np.empty((0, *X.shape[1:]), X.dtype)}

        with isolated_torch(seed, device):
            network, rounds = start(plan, n_networks=n_networks, on_step=step_printer(self))
            self.history_ = run_rounds(
                rounds,
                n_rounds,
                estimator=self,
                context=context,
                training_data=data,
                fitted_attributes=lambda: predictor(copy.deepcopy(network)),
            )
            vars(self).update(predictor(network))
            logits = classify_in_batches(self.network_, rows)
        if not np.isfinite(logits).all():
            raise ValueError(
                "The trained network's output is not finite on rows it was trained on. Try features of a smaller "
                "range, a lower 'learning_rate', or look for what the 'backbone' does differently outside of training."
            )

        self.n_rounds_ = len(self.history_) - 1
        self.n_steps_, self.learning_rate_, self.weight_decay_ = plan.n_steps, plan.learning_rate, plan.weight_decay
        self._describe_rows(codes, logits)
        context.call_on_fit_task_end(estimator=self, **data, reconstruction_attributes={})

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
        logits = classify_in_batches(*self._network_and_rows(X))
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
        logits = classify_in_batches(*self._network_and_rows(X))
        return softmax(logits.astype(np.float64, copy=False))

    def score(self, X, y, sample_weight=None):
        """Return the share of right predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
            Rows of the kind given to fit.

        y : array-like of shape (n_samples,)
            Their labels. A row without one cannot be predicted right: a warning says so where -1 marks some, and other
            marks are refused.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
            Accuracy. Where classes are imbalanced, :func:`sklearn.metrics.balanced_accuracy_score` says more.

        Raises
        ------
        ValueError
            If `y` is None, or None, NaN or NA stand for labels in it.
        """
        check_is_fitted(self, "network_")
        if y is None:
            raise ValueError("score needs y, the labels of the rows. Got None instead.")
        n_missing = np.count_nonzero(missing_labels(y))
        if n_missing:
            raise ValueError(
                f"y must have a label for each row that is scored. Got None, NaN or NA for {n_missing} of {len(y)} "
                "rows: leave them out."
            )
        n_marked = np.count_nonzero(np.asarray(y) == -1)
        if n_marked and -1 not in self.classes_:
            warnings.warn(
                f"y marks {n_marked} of {len(y)} rows as unlabelled, which all count as errors. Score labelled rows; "
                "in cross-validation, skdmlpl.model_selection.LabeledStratifiedKFold keeps the rest out of the tests.",
                UserWarning,
                stacklevel=2,
            )
        return super().score(X, y, sample_weight)

    def transform(self, X):
        """Embed rows: rows of one class are close to each other, by Euclidean distance or cosine.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
            Rows of the kind given to fit.

        Returns
        -------
        ndarray of shape (n_samples, embedding_dim)
            Rows of length 1; float64 where the backbone wants its rows so, as the default one for tables does, else
            float32.
        """
        return embed_in_batches(*self._network_and_rows(X))

    @property
    def _n_features_out(self):
        return self.network_.embedding_dim

    def _network_and_rows(self, X):
        """Return the fitted network and new rows to run it on."""
        check_is_fitted(self, "network_")
        X = check_rows_like(self, X, self._no_rows)
        network = self.network_
        return network, Rows(X, dtype=network.input_dtype, device=network.device)

    def __getstate__(self):
        """Store networks as arrays: a model trained on a GPU loads anywhere, on the CPU."""
        state = dict(super().__getstate__())
        return {name: pack(value) if isinstance(value, nn.Module) else value for name, value in state.items()}

    def __setstate__(self, state):
        unpacked = {name: unpack(value) if isinstance(value, nn.Module) else value for name, value in state.items()}
        super().__setstate__(unpacked)

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

        labeled_prior = np.bincount(codes[given]) / given.sum()
        if given.all():
            self.unlabeled_prior_ = labeled_prior
            reason = StopReason.NO_UNLABELED
        else:
            self.unlabeled_prior_ = estimate_prior(softmax(logits[~given]), labeled_prior)
            if (labels >= 0).all():
                reason = StopReason.ALL_LABELED
            else:
                reason = StopReason.MAX_ROUNDS if self.n_rounds_ == self.max_rounds else StopReason.CALLBACK
        self.termination_condition_ = str(reason)
        proba = softmax(logits + np.log(self.unlabeled_prior_))
        proba[given] = np.eye(len(self.classes_))[codes[given]]
        self.label_distributions_ = proba
        # The rows are not kept: by these, skdmlpl.inspection knows them again.
        self._top_logits = logits.max(axis=1).astype(np.float32)
