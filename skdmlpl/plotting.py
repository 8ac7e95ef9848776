"""Pictures of a fit: its pseudo-labels round by round, its embedding, and the recall of each class.

The displays work as scikit-learn's do: `from_estimator` or `from_predictions` computes and draws, the constructor takes
computed values, `plot` draws them, again if need be. They need matplotlib (``pip install "skdmlpl[plot]"``), which is
imported by the first of these calls. Everywhere, classes run from the most frequent among the given labels to the
rarest.

Text gets as much room as it needs in a figure with ``layout="constrained"``. The displays make such a figure where they
are given no axes; ``plt.subplots(layout="constrained")`` makes one for several displays.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.decomposition import PCA
from sklearn.metrics import recall_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_consistent_length

from skdmlpl._figures import (
    DIGIT_WIDTH,
    LINE_HEIGHT,
    SMALLEST_TEXT,
    add_grid,
    figure_size,
    import_pyplot,
    label_classes,
    label_columns,
    legend_beside,
    legend_on_top,
    make_room,
    sizes_in_points,
    text_size,
    three_panels,
    without_aliases,
)
from skdmlpl._validation import encode_labels, final_step

__all__ = ["EmbeddingDisplay", "PseudoLabelDisplay", "RecallDisplay"]

# Ten colours chosen to be told apart with any kind of colour vision: Petroff, "Accessible Color Sequences for Data
# Visualization", 2021, https://arxiv.org/abs/2107.02270.
_COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
# A second cue beside the colour.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
_GREY = "0.6"
# How rows of each kind are drawn. Later kinds lie on top: given labels are few, and the rest is judged by them.
_ROW_STYLES = {
    "unlabeled": {"s": 16, "linewidths": 0.8},
    "pseudo": {"s": 16, "alpha": 0.7, "linewidths": 0},
    "test": {"s": 24, "linewidths": 0.8},
    "given": {"s": 60, "linewidths": 0.8},
}
_LEGEND_MARKS = {
    "given": ("labelled", {"marker": "o", "color": "0.5", "markersize": 8}),
    "pseudo": ("pseudo-labelled", {"marker": "o", "color": "0.5", "markersize": 4}),
    "unlabeled": ("unlabelled", {"marker": "x", "color": _GREY, "markersize": 5}),
    "test": ("test", {"marker": "o", "color": "0.5", "markersize": 5, "markerfacecolor": "none"}),
}
_MAX_NAME = 24  # characters; a longer name would take the room of the data


class PseudoLabelDisplay:
    """Class counts, coverage and reliability of the pseudo-labels, round by round.

    Use :meth:`from_estimator` to create one. The first panel shows how many pseudo-labels each class got, beside its
    number of given labels; the second the share of the unlabelled rows that had a pseudo-label; the third the mean
    weight of these labels. A class whose count falls from round to round is being lost, and labels of low weight are
    not to be relied on.

    Parameters
    ----------
    class_counts : array-like of shape (n_rounds, n_classes), int
        Pseudo-labels of each class in each round, from round 0 on, which has none.

    coverage : array-like of shape (n_rounds,), float
        Share of the unlabelled rows that had a pseudo-label, in [0, 1]; nan where there were no unlabelled rows.

    mean_weight : array-like of shape (n_rounds,), float
        Mean reliability of the pseudo-labels, in [0, 1]; nan in a round without any.

    given_counts : array-like of shape (n_classes,), int
        Given labels of each class.

    display_labels : array-like of shape (n_classes,), default=None
        Names of the classes. None numbers them from 0.

    Attributes
    ----------
    axes_ : ndarray of shape (3,) of matplotlib Axes
        The panels: class counts, coverage, mean weight.

    figure_ : matplotlib Figure
        The figure they are in.

    im_ : matplotlib AxesImage
        Class counts: one row a class, the most frequent first; one column for the given labels, then one for each
        round from 1 on.

    text_ : ndarray of shape (n_classes, n_rounds) of matplotlib Text, or None
        The numbers in the cells of `im_`; None if they are not written.

    lines_ : ndarray of shape (2,) of matplotlib Line2D
        Coverage and mean weight.

    See Also
    --------
    skdmlpl.interfaces.RoundRecord : What the estimator records of a round.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdmlpl import DMLPseudoLabelClassifier
    >>> from skdmlpl.plotting import PseudoLabelDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> labeled = [*range(20), *range(50, 55), *range(100, 103)]
    >>> clf = DMLPseudoLabelClassifier(max_rounds=2, n_steps=20, random_state=0)
    >>> clf = clf.fit(X[labeled], y[labeled], X_unlabeled=X)
    >>> display = PseudoLabelDisplay.from_estimator(clf)
    >>> display.coverage.round(1)
    array([0. , 0.5, 1. ])
    """

    def __init__(self, *, class_counts, coverage, mean_weight, given_counts, display_labels=None):
        self.class_counts = class_counts
        self.coverage = coverage
        self.mean_weight = mean_weight
        self.given_counts = given_counts
        self.display_labels = display_labels

    @classmethod
    def from_estimator(
        cls, estimator, *, display_labels=None, include_values=None, cmap="Blues", line_kwargs=None, ax=None
    ):
        """Draw the pseudo-labels of a fitted estimator.

        Parameters
        ----------
        estimator : DMLPseudoLabelClassifier or Pipeline
            Fitted estimator, or a pipeline that ends with one.

        display_labels : array-like of shape (n_classes,), default=None
            Names of the classes, in the order of `estimator.classes_`. None takes `estimator.classes_`.

        include_values : bool, default=None
            See :meth:`plot`.

        cmap : str or matplotlib Colormap, default="Blues"
            See :meth:`plot`.

        line_kwargs : dict, default=None
            See :meth:`plot`.

        ax : matplotlib Axes or array-like of shape (3,) of matplotlib Axes, default=None
            See :meth:`plot`.

        Returns
        -------
        PseudoLabelDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator keeps no record of its rounds.
        ValueError
            If `ax` or `display_labels` do not fit, see :meth:`plot`.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{cls.__name__}.from_estimator"
        import_pyplot(caller)
        final = final_step(estimator, ("history_", "labeled_iter_", "transduction_", "classes_"), caller)
        n_unlabeled = len(final.history_[0].pseudo_labels.labels)
        n_pseudo_labeled = np.array([record.n_pseudo_labeled for record in final.history_])
        given = final.transduction_[final.labeled_iter_ == 0]
        display = cls(
            class_counts=np.array([record.class_counts for record in final.history_]),
            coverage=n_pseudo_labeled / n_unlabeled if n_unlabeled else np.full(len(n_pseudo_labeled), np.nan),
            mean_weight=np.array([record.mean_weight for record in final.history_]),
            given_counts=np.bincount(_class_codes(given, final.classes_), minlength=len(final.classes_)),
            display_labels=final.classes_ if display_labels is None else display_labels,
        )
        return display.plot(ax=ax, include_values=include_values, cmap=cmap, line_kwargs=line_kwargs)

    def plot(self, ax=None, *, include_values=None, cmap="Blues", line_kwargs=None):
        """Draw the three panels.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of shape (3,) of matplotlib Axes, default=None
            Three axes are drawn into: class counts, coverage, mean weight. A single one, which must belong to a grid
            of subplots, is switched off and its place divided among the three. None makes a new figure, higher for
            many classes.

        include_values : bool, default=None
            Whether to write the counts into their cells or to draw a colour bar. None writes them if they fit.

        cmap : str or matplotlib Colormap, default="Blues"
            Colours of the counts, from 0 to the largest, on a scale that is logarithmic but for the smallest counts.

        line_kwargs : dict, default=None
            Passed to matplotlib's `plot` for the two lines.

        Returns
        -------
        PseudoLabelDisplay
            The display itself.

        Raises
        ------
        ValueError
            If `ax` is neither one subplot nor three axes, or `display_labels` are not one name a class.
        ImportError
            If matplotlib is not installed.
        """
        plt = import_pyplot(f"{type(self).__name__}.plot")
        from matplotlib.colors import AsinhNorm

        names = _class_names(self.display_labels, len(self.given_counts))
        self.axes_ = three_panels(plt, ax, len(names))
        self.figure_ = self.axes_[0].figure
        counts_ax, *line_axes = self.axes_

        self._plot_lines(line_axes, line_kwargs)
        order = _frequent_first(self.given_counts)
        columns = np.vstack([self.given_counts, np.asarray(self.class_counts)[1:]])
        counts = columns.T[order]
        # A scale from 0 to 0 could not be drawn.
        norm = AsinhNorm(linear_width=1, vmin=0, vmax=max(counts.max(), 1))
        self.im_ = counts_ax.imshow(counts, aspect="auto", interpolation="nearest", cmap=cmap, norm=norm)
        counts_ax.set(title="Rows with the label", xlabel="Round", ylabel="Class")
        label_classes(counts_ax, [names[i] for i in order], height=sizes_in_points(counts_ax)[0][1])

        sizes = sizes_in_points(*self.axes_)
        room = sizes[0] / counts.shape[::-1]  # width and height of a cell
        text_height = min(room[0] / ((len(str(counts.max())) + 1) * DIGIT_WIDTH), room[1] / LINE_HEIGHT)
        if include_values or (include_values is None and text_height >= SMALLEST_TEXT):
            self._write_counts(counts_ax, counts, np.clip(text_height, SMALLEST_TEXT, text_size("ytick.labelsize")))
        else:
            self._explain_colors(counts_ax, counts.max())
            sizes = sizes_in_points(*self.axes_)
        label_columns(counts_ax, ["given", *range(1, len(columns))], sizes[0][0])
        if len(columns) > 1:
            # Between given labels and pseudo-labels.
            counts_ax.axvline(0.5, color=counts_ax.get_facecolor(), linewidth=min(4, room[0] / 4))
        for line_ax, (width, _) in zip(line_axes, sizes[1:], strict=True):
            label_columns(line_ax, range(len(columns)), width)
        if ax is None or hasattr(ax, "get_subplotspec"):
            line_axes[0].tick_params(labelbottom=False)  # the panel below has the same rounds
            line_axes[0].set_xlabel("")
        return self

    def _plot_lines(self, axes, line_kwargs):
        style = {"color": _COLORS[0], "marker": _MARKERS[0]} | without_aliases(line_kwargs)
        self.lines_ = np.empty(2, dtype=object)
        for i, (values, label) in enumerate([(self.coverage, "Coverage"), (self.mean_weight, "Mean weight")]):
            (self.lines_[i],) = axes[i].plot(np.arange(len(values)), values, **style)
            # A little more than [0, 1], so that marks at the ends are drawn in full.
            axes[i].set(xlabel="Round", ylabel=label, xlim=(-0.5, len(values) - 0.5), ylim=(-0.05, 1.05))
            add_grid(axes[i])
            if np.isnan(values).all():
                reason = "no unlabelled rows" if np.isnan(self.coverage).all() else "no pseudo-labels"
                axes[i].text(0.5, 0.5, reason, transform=axes[i].transAxes, ha="center", va="center")

    def _write_counts(self, ax, counts, size):
        self.text_ = np.empty(counts.shape, dtype=object)
        for (row, column), count in np.ndenumerate(counts):
            red, green, blue, _ = self.im_.cmap(self.im_.norm(count))
            luma = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
            color = "white" if luma < 0.5 else "black"
            self.text_[row, column] = ax.text(column, row, str(count), ha="center", va="center", size=size, color=color)

    def _explain_colors(self, ax, largest):
        self.text_ = None
        steps = [0, *(factor * 10**power for power in range(len(str(largest))) for factor in (1, 3))]
        bar = self.figure_.colorbar(self.im_, ax=ax, ticks=[step for step in steps if step <= self.im_.norm.vmax])
        bar.ax.yaxis.set_major_formatter("{x:,.0f}")
        bar.minorticks_off()


class EmbeddingDisplay:
    """The embedding in two dimensions: where the rows of each class lie, and which label each row has.

    Use :meth:`from_estimator` to create one. Large marks are rows with a given label, small ones rows with a
    pseudo-label, grey crosses rows without either, and hollow marks test rows.

    Up to ten classes have a colour and a shape each. Of more, no eye can tell one from another: then the colour says
    how frequent the class is.

    Parameters
    ----------
    coordinates : array-like of shape (n_samples, 2), float
        Where to draw each row.

    codes : array-like of shape (n_samples,), int
        Class of each row, as an index from 0; -1 for unlabelled rows.

    kinds : array-like of shape (n_samples,) of str
        "given", "pseudo", "unlabeled" or "test".

    n_classes : int
        Number of classes, with or without rows here.

    display_labels : array-like of shape (n_classes,), default=None
        Names of the classes. None numbers them from 0.

    axis_labels : tuple of 2 str, default=("Component 1", "Component 2")
        Labels of the two axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into.

    figure_ : matplotlib Figure
        The figure they are in.

    scatters_ : dict of str to list of matplotlib PathCollection
        For each kind the points drawn, one collection for each shape.

    legend_ : matplotlib Legend
        What the marks mean.

    See Also
    --------
    skdmlpl.DMLPseudoLabelClassifier.transform : The embedding itself.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdmlpl import DMLPseudoLabelClassifier
    >>> from skdmlpl.plotting import EmbeddingDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> labeled = [*range(20), *range(50, 55), *range(100, 103)]
    >>> clf = DMLPseudoLabelClassifier(max_rounds=2, random_state=0)
    >>> clf = clf.fit(X[labeled], y[labeled], X_unlabeled=X)
    >>> display = EmbeddingDisplay.from_estimator(clf, X[labeled], X)
    >>> display.coordinates.shape
    (178, 2)
    """

    def __init__(
        self,
        *,
        coordinates,
        codes,
        kinds,
        n_classes,
        display_labels=None,
        axis_labels=("Component 1", "Component 2"),
    ):
        self.coordinates = coordinates
        self.codes = codes
        self.kinds = kinds
        self.n_classes = n_classes
        self.display_labels = display_labels
        self.axis_labels = axis_labels

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        X_unlabeled=None,
        *,
        X_test=None,
        y_test=None,
        reducer=None,
        display_labels=None,
        cmap="viridis",
        scatter_kwargs=None,
        ax=None,
    ):
        """Embed the rows given to fit, and test rows, and draw them in two dimensions.

        Parameters
        ----------
        estimator : DMLPseudoLabelClassifier or Pipeline
            Fitted estimator, or a pipeline that ends with one.

        X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
            The rows given to `fit`, in the same order: the estimator does not keep them.

        X_unlabeled : array-like of shape (n_unlabeled, ...) or None, default=None
            The unlabelled rows given to `fit` beside `X`.

        X_test : array-like of shape (n_test, ...) or None, default=None
            Rows that were not given to `fit`.

        y_test : array-like of shape (n_test,) or None, default=None
            Labels of `X_test`. None takes the predicted ones.

        reducer : transformer with `fit_transform`, or with `fit` and `transform`, default=None
            Reduces embeddings to two columns; a copy of it is used. If it has `transform`, test rows are placed by it,
            after it was fitted to the others; if not, as :class:`sklearn.manifold.TSNE`, it is fitted to all rows. None
            takes ``PCA(n_components=2)``.

        display_labels : array-like of shape (n_classes,), default=None
            Names of the classes, in the order of `estimator.classes_`. None takes `estimator.classes_`.

        cmap : str or matplotlib Colormap, default="viridis"
            See :meth:`plot`.

        scatter_kwargs : dict, default=None
            See :meth:`plot`.

        ax : matplotlib Axes, default=None
            See :meth:`plot`.

        Returns
        -------
        EmbeddingDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the rows are not as many as were given to `fit`, `y_test` has an unknown label or comes without `X_test`,
            or the reducer returns other than two columns.
        TypeError
            If the estimator does not embed rows or does not keep their labels.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{cls.__name__}.from_estimator"
        import_pyplot(caller)
        final = final_step(estimator, ("labeled_iter_", "transduction_", "classes_", "transform"), caller)
        if y_test is not None and X_test is None:
            raise ValueError(f"{caller} needs X_test where y_test is given.")

        embeddings = np.asarray(estimator.transform(X))
        if X_unlabeled is not None and len(X_unlabeled) > 0:
            embeddings = np.concatenate([embeddings, np.asarray(estimator.transform(X_unlabeled))])
        if len(embeddings) != len(final.transduction_):
            raise ValueError(
                f"X and X_unlabeled must be the rows given to fit, {len(final.transduction_)} in all. "
                f"Got {len(embeddings)} rows instead."
            )
        has_label = final.labeled_iter_ >= 0
        kinds = np.where(has_label, np.where(final.labeled_iter_ == 0, "given", "pseudo"), "unlabeled")
        codes = np.full(len(embeddings), -1)
        codes[has_label] = _class_codes(final.transduction_[has_label], final.classes_)

        test_embeddings = embeddings[:0]
        if X_test is not None:
            test_embeddings = np.asarray(estimator.transform(X_test))
            y_test = estimator.predict(X_test) if y_test is None else y_test
            check_consistent_length(X_test, y_test)
            try:
                codes = np.concatenate([codes, _class_codes(y_test, final.classes_)])
            except ValueError as error:
                raise ValueError(f"y_test must hold labels that were given to fit. {error}") from error
            kinds = np.concatenate([kinds, np.full(len(test_embeddings), "test")])

        reducer = PCA(n_components=2) if reducer is None else clone(reducer, safe=False)
        display = cls(
            coordinates=_reduce(reducer, embeddings, test_embeddings),
            codes=codes,
            kinds=kinds,
            n_classes=len(final.classes_),
            display_labels=final.classes_ if display_labels is None else display_labels,
            axis_labels=_component_names(reducer),
        )
        return display.plot(ax=ax, cmap=cmap, scatter_kwargs=scatter_kwargs)

    def plot(self, ax=None, *, cmap="viridis", scatter_kwargs=None):
        """Draw the rows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. The legend is put to the right of them. None makes a new figure.

        cmap : str or matplotlib Colormap, default="viridis"
            Colours of more than ten classes, from the most frequent to the rarest.

        scatter_kwargs : dict, default=None
            Passed to matplotlib's `scatter`, for all kinds of rows.

        Returns
        -------
        EmbeddingDisplay
            The display itself.

        Raises
        ------
        ValueError
            If `kinds` holds an unknown word, or `display_labels` are not one name a class.
        ImportError
            If matplotlib is not installed.
        """
        plt = import_pyplot(f"{type(self).__name__}.plot")
        names = _class_names(self.display_labels, self.n_classes)
        codes, kinds = np.asarray(self.codes), np.asarray(self.kinds)
        check_consistent_length(self.coordinates, codes, kinds)
        unknown = np.setdiff1d(kinds, list(_ROW_STYLES))
        if len(unknown) > 0:
            raise ValueError(f"kinds must hold {', '.join(_ROW_STYLES)}. Got {', '.join(map(str, unknown))} as well.")
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure

        order = _frequent_first(np.bincount(codes[kinds == "given"], minlength=self.n_classes))
        if self.n_classes <= len(_COLORS):
            colors, markers = _COLORS[: self.n_classes], _MARKERS[: self.n_classes]
        else:
            colors = plt.get_cmap(cmap)(np.linspace(0, 1, self.n_classes))
            markers = _MARKERS[:1] * self.n_classes
        ranks = np.append(np.argsort(order), -1)[codes]  # 0 for the most frequent class; no class has code and rank -1
        self._draw_rows(kinds, ranks, [*colors, _GREY], [*markers, "x"], scatter_kwargs or {})
        ax.set(xlabel=self.axis_labels[0], ylabel=self.axis_labels[1], xticks=[], yticks=[])
        self._draw_legend(kinds, [names[i] for i in order], colors, markers)
        make_room(ax)
        return self

    def _draw_rows(self, kinds, ranks, colors, markers, scatter_kwargs):
        from matplotlib import rcParams
        from matplotlib.colors import to_rgba_array

        coordinates = np.asarray(self.coordinates)
        colors, markers = to_rgba_array(colors)[ranks], np.array(markers)[ranks]
        # Smaller marks where many rows share little room.
        width, height = sizes_in_points(self.ax_)[0]
        shrink = np.clip(np.sqrt(width * height / max(len(kinds), 1)) / 10, 0.25, 1)
        self.scatters_ = {}
        for kind, style in _ROW_STYLES.items():
            of_kind = np.flatnonzero(kinds == kind)
            of_kind = of_kind[np.argsort(ranks[of_kind], kind="stable")]  # the rarest last, on top of the others
            self.scatters_[kind] = []
            for marker in dict.fromkeys(markers[of_kind].tolist()):
                rows = of_kind[markers[of_kind] == marker]
                look = style | {
                    "s": style["s"] * shrink,
                    "linewidths": style["linewidths"] * shrink,
                    "marker": marker,
                    "facecolors": "none" if kind == "test" else colors[rows],
                    "edgecolors": {"given": rcParams["text.color"], "test": colors[rows]}.get(kind),
                }
                self.scatters_[kind].append(self.ax_.scatter(*coordinates[rows].T, **look | scatter_kwargs))

    def _draw_legend(self, kinds, names, colors, markers):
        from matplotlib import rcParams
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import ListedColormap, Normalize
        from matplotlib.lines import Line2D

        def entry(label, **mark):
            return Line2D([], [], linestyle="none", label=label, **mark)

        few = len(names) <= len(_COLORS)
        handles = [entry("Rows")]
        for kind, (label, mark) in _LEGEND_MARKS.items():
            number = np.count_nonzero(kinds == kind)
            if number > 0:
                edge = {"markeredgecolor": rcParams["text.color"]} if kind == "given" else {}
                handles.append(entry(f"{label} ({number:,})", **mark, **edge))
        handles.append(entry("Classes" if few else "Classes, frequent to rare"))
        if few:
            looks = zip(names, colors, markers, strict=True)
            handles += [entry(name, color=color, marker=marker) for name, color, marker in looks]
        self.legend_ = legend_beside(self.ax_, handles)
        if not few:
            taken = self.legend_.get_window_extent().height / self.ax_.get_window_extent().height
            bar = self.ax_.inset_axes([1.05, 0, 0.05, max(0.2, 0.97 - taken)])
            self.figure_.colorbar(ScalarMappable(Normalize(-0.5, len(names) - 0.5), ListedColormap(colors)), cax=bar)
            bar.invert_yaxis()
            label_classes(bar, names, height=sizes_in_points(bar)[0][1])


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
        classes = unique_labels(train_classes, y_true)
        counts = np.zeros(len(classes), dtype=int)
        counts[_class_codes(train_classes, classes)] = np.bincount(codes[codes >= 0])
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
        names = _class_names(self.display_labels, len(self.counts))
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

        order = _frequent_first(self.counts)
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
            color, turn = (drawn + i) % len(_COLORS), (drawn + i) // len(_COLORS)
            style = {
                "color": _COLORS[color],
                "marker": _MARKERS[(color + turn) % len(_MARKERS)],
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


def _class_codes(labels, classes: np.ndarray) -> np.ndarray:
    """Return the index of each label among the classes."""
    return LabelEncoder().fit(classes).transform(labels)


def _frequent_first(counts) -> np.ndarray:
    """Return the classes by falling count; equal ones keep their order."""
    return np.argsort(-np.asarray(counts), kind="stable")


def _reduce(reducer, embeddings: np.ndarray, test_embeddings: np.ndarray) -> np.ndarray:
    """Return the two coordinates of the rows given to fit, then of the test rows."""
    if hasattr(reducer, "transform"):
        if hasattr(reducer, "fit_transform"):
            parts = [reducer.fit_transform(embeddings)]
        else:
            parts = [reducer.fit(embeddings).transform(embeddings)]
        if len(test_embeddings) > 0:
            parts.append(reducer.transform(test_embeddings))
    else:
        parts = [reducer.fit_transform(np.concatenate([embeddings, test_embeddings]))]
    coordinates = np.concatenate([np.asarray(part) for part in parts])
    if coordinates.ndim != 2 or coordinates.shape[1] != 2:
        raise ValueError(
            f"reducer must reduce the embeddings to 2 columns. Got shape {coordinates.shape} from {reducer!r} instead."
        )
    return coordinates


def _component_names(reducer) -> tuple[str, str]:
    names = [f"{type(reducer).__name__} {i}" for i in (1, 2)]
    shares = getattr(reducer, "explained_variance_ratio_", None)
    return tuple(names if shares is None else map("{} ({:.0%} of variance)".format, names, shares))


def _class_names(display_labels, n_classes: int) -> list[str]:
    """Return a string for each class, none so long that the data are left without room."""
    labels = range(n_classes) if display_labels is None else display_labels
    if len(labels) != n_classes:
        raise ValueError(f"display_labels must be one name for each of the {n_classes} classes. Got {len(labels)}.")
    names = [str(label) for label in labels]
    for half in range(_MAX_NAME // 2, max(map(len, names))):
        # The middle is left out: names of one family tell themselves apart at the start or at the end.
        short = [name if len(name) <= 2 * half else f"{name[: half - 1]}…{name[-half:]}" for name in names]
        if len(set(short)) == len(set(names)):
            return short
    return names
