"""The recall of each class, of one model or several."""

from collections.abc import Iterable, Mapping

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import recall_score
from sklearn.pipeline import Pipeline
from sklearn.utils.multiclass import unique_labels

from skdmlpl._labels import count_unlabeled, encode_labels
from skdmlpl.plotting._classes import COLORS, MARKERS, class_codes, class_names, frequent_first
from skdmlpl.plotting._figures import (
    add_grid,
    figure_size,
    import_pyplot,
    label_classes,
    legend_on_top,
    sizes_in_points,
    without_aliases,
)

__all__ = ["RecallDisplay"]


class RecallDisplay:
    """The recall of each class, from the most frequent to the rarest, of one classifier or several.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create one. The mean over the classes, given in the
    legend, is the balanced accuracy.

    Parameters
    ----------
    recalls : array-like of shape (n_estimators, n_classes), float
        Recall of each class on test rows; nan for a class without any.

    names : sequence of n_estimators str
        Names of the classifiers.

    counts : array-like of shape (n_classes,), int
        Labelled rows of each class in training, by which the classes are sorted.

    display_labels : array-like of shape (n_classes,), default=None
        Names of the classes. None numbers them from 0.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into.

    figure_ : matplotlib Figure
        The figure they are in.

    lines_ : list of matplotlib Line2D
        The recalls of each classifier.

    ranges_ : matplotlib LineCollection or None
        For each class a line from the lowest recall to the highest; None for one classifier.

    See Also
    --------
    sklearn.metrics.recall_score : The recall.
    sklearn.metrics.ConfusionMatrixDisplay : What the rows of a class were taken for.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdmlpl import DMLPseudoLabelClassifier
    >>> from skdmlpl.plotting import RecallDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> labeled = [*range(20), *range(50, 55), *range(100, 103)]
    >>> clf = DMLPseudoLabelClassifier(max_rounds=2, n_steps=20, random_state=0)
    >>> clf = clf.fit(X[labeled], y[labeled], X_unlabeled=X)
    >>> baseline = LogisticRegression(max_iter=1000).fit(X[labeled], y[labeled])
    >>> display = RecallDisplay.from_estimator({"skdmlpl": clf, "logistic regression": baseline}, X, y)
    >>> display.recalls.shape
    (2, 3)
    """

    def __init__(self, *, recalls, names, counts, display_labels=None):
        self.recalls = recalls
        self.names = names
        self.counts = counts
        self.display_labels = display_labels

    @classmethod
    def from_estimator(cls, estimator, X, y, *, y_train=None, display_labels=None, line_kwargs=None, ax=None):
        """Predict test rows, and draw the recall of each class.

        Parameters
        ----------
        estimator : classifier or dict of str to classifier
            Fitted classifier, of this package or another; or two or more by name.

        X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
            Test rows.

        y : array-like of shape (n_samples,)
            Their labels.

        y_train : array-like of shape (n_train,) or None, default=None
            Labels given to `fit`, unlabelled rows marked or left out; they are counted to sort the classes. None takes
            the given labels from the first estimator that keeps them, as semi-supervised classifiers do
            (`transduction_` where `labeled_iter_` is 0).

        display_labels : array-like of shape (n_classes,), default=None
            Names of the classes, of `y_train` and `y` together, in sorted order. None takes the labels themselves.

        line_kwargs : dict or list of n_estimators dict, default=None
            See :meth:`plot`.

        ax : matplotlib Axes, default=None
            See :meth:`plot`.

        Returns
        -------
        RecallDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If an estimator is no classifier, `y_train` is needed and not given, or an argument does not fit.
        sklearn.exceptions.NotFittedError
            If an estimator is not fitted.
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{cls.__name__}.from_estimator"
        import_pyplot(caller)
        estimators = estimator if isinstance(estimator, Mapping) else {type(estimator).__name__: estimator}
        for name, candidate in estimators.items():
            if not is_classifier(candidate):
                raise ValueError(f"{caller} needs fitted classifiers. Got {candidate!r} as {name!r} instead.")
        if y_train is None:
            y_train = _given_labels(estimators.values(), caller)
        return cls.from_predictions(
            y,
            {name: classifier.predict(X) for name, classifier in estimators.items()},
            y_train=y_train,
            display_labels=display_labels,
            line_kwargs=line_kwargs,
            ax=ax,
        )

    @classmethod
    def from_predictions(cls, y_true, y_pred, *, y_train, display_labels=None, line_kwargs=None, ax=None):
        """Draw the recall of each class.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Labels of test rows.

        y_pred : array-like of shape (n_samples,) or dict of str to array-like of shape (n_samples,)
            Labels predicted for these rows; or those of two or more classifiers by name.

        y_train : array-like of shape (n_train,)
            Labels given to `fit`, unlabelled rows marked or left out; they are counted to sort the classes.

        display_labels : array-like of shape (n_classes,), default=None
            Names of the classes, of `y_train` and `y_true` together, in sorted order. None takes the labels themselves.

        line_kwargs : dict or list of n_estimators dict, default=None
            See :meth:`plot`.

        ax : matplotlib Axes, default=None
            See :meth:`plot`.

        Returns
        -------
        RecallDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If an argument does not fit.
        ImportError
            If matplotlib is not installed.
        """
        import_pyplot(f"{cls.__name__}.from_predictions")
        predictions = y_pred if isinstance(y_pred, Mapping) else {"Classifier": y_pred}
        try:
            train_classes, codes = encode_labels(y_train, len(y_train))
        except ValueError as error:
            raise ValueError(f"y_train must hold the labels given to fit. {error}") from error
        n_unlabeled = count_unlabeled(y_true, train_classes)
        if n_unlabeled:
            raise ValueError(
                f"The test rows must have a label each. Got marks of unlabelled rows for {n_unlabeled} of "
                f"{len(y_true)}: leave them out."
            )
        classes = unique_labels(train_classes, y_true)
        counts = np.zeros(len(classes), dtype=int)
        counts[class_codes(train_classes, classes)] = np.bincount(codes[codes >= 0])
        recalls = [
            recall_score(y_true, predicted, labels=classes, average=None, zero_division=np.nan)
            for predicted in predictions.values()
        ]
        display = cls(
            recalls=np.array(recalls),
            names=list(predictions),
            counts=counts,
            display_labels=classes if display_labels is None else display_labels,
        )
        return display.plot(ax=ax, line_kwargs=line_kwargs)

    def plot(self, ax=None, *, line_kwargs=None):
        """Draw the recalls.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a new figure, higher for many classes.

        line_kwargs : dict or list of n_estimators dict, default=None
            Passed to matplotlib's `plot`; a list has one dict for each classifier.

        Returns
        -------
        RecallDisplay
            The display itself.

        Raises
        ------
        ValueError
            If `names`, `display_labels` or `line_kwargs` are not as many as they must be.
        ImportError
            If matplotlib is not installed.
        """
        plt = import_pyplot(f"{type(self).__name__}.plot")
        recalls = np.asarray(self.recalls)
        names = class_names(self.display_labels, len(self.counts))
        if line_kwargs is None or isinstance(line_kwargs, Mapping):
            line_kwargs = [line_kwargs] * len(recalls)
        if not len(recalls) == len(self.names) == len(line_kwargs):
            raise ValueError(
                f"There must be one name and one dict of line_kwargs for each of the {len(recalls)} classifiers. "
                f"Got {len(self.names)} names and {len(line_kwargs)} dicts instead."
            )
        if ax is None:
            _, ax = plt.subplots(figsize=figure_size(plt, len(names)), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure

        order = frequent_first(self.counts)
        recalls = recalls[:, order]
        places = np.arange(len(order))
        labels = [f"{names[i]} ({self.counts[i]})" for i in order]
        ax.set(xlabel="Recall", ylabel="Class (labelled rows)", ylim=(len(order) - 0.5, -0.5))
        label_classes(ax, labels, height=sizes_in_points(ax)[0][1])
        height = sizes_in_points(ax)[0][1]
        size = np.clip(height / len(order), 3.5, 7)
        self.ranges_ = None
        if len(recalls) > 1:
            tested = ~np.isnan(recalls).all(axis=0)
            lowest, highest = np.nanmin(recalls[:, tested], axis=0), np.nanmax(recalls[:, tested], axis=0)
            self.ranges_ = ax.hlines(places[tested], lowest, highest, color="0.75", linewidth=size / 3, zorder=1.5)
        self.lines_ = []
        drawn = len(ax.lines)  # another display may have been drawn into these axes
        # Later marks lie on top of earlier ones, which still show if they are larger.
        sizes = size * np.linspace(min(1 + 0.5 * (len(recalls) - 1), 1.75), 1, len(recalls))
        for i, (name, recall, given) in enumerate(zip(self.names, recalls, line_kwargs, strict=True)):
            color, turn = (drawn + i) % len(COLORS), (drawn + i) // len(COLORS)
            style = {
                "color": COLORS[color],
                "marker": MARKERS[(color + turn) % len(MARKERS)],
                "markersize": sizes[i],
                "markeredgecolor": ax.get_facecolor(),
                "markeredgewidth": 0.5,
                "linestyle": "none",
                "label": f"{name} (mean = {np.nanmean(recall):.2f})",
            }
            self.lines_ += ax.plot(recall, places, **style | without_aliases(given))
        # A little more than [0, 1], so that marks at the ends are drawn in full.
        ax.set_xlim(-0.03, 1.03)
        add_grid(ax)
        # The legend gets a strip of its own above the first class, so that it hides no mark.
        legend, box = legend_on_top(ax).get_window_extent(), ax.get_window_extent()
        share = min((box.y1 - legend.y0) / box.height + size / height, 0.5)
        ax.set_ylim(len(order) - 0.5, len(order) - 0.5 - len(order) / (1 - share))
        label_classes(ax, labels, height * (1 - share))
        return self


def _given_labels(estimators: Iterable, caller: str) -> np.ndarray:
    """Return the labels given to fit, from the first estimator that keeps them."""
    for estimator in estimators:
        final = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        if hasattr(final, "transduction_") and hasattr(final, "labeled_iter_"):
            return final.transduction_[final.labeled_iter_ == 0]
    raise ValueError(f"{caller} needs y_train, the labels given to fit, as no estimator keeps them.")
