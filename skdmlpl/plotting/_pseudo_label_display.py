"""How the pseudo-labels of a fit grew, round by round."""

import numpy as np

from skdmlpl._validation import final_step
from skdmlpl.plotting._classes import COLORS, MARKERS, class_codes, class_names, frequent_first
from skdmlpl.plotting._figures import (
    DIGIT_WIDTH,
    LINE_HEIGHT,
    SMALLEST_TEXT,
    add_grid,
    import_pyplot,
    label_classes,
    label_columns,
    sizes_in_points,
    text_size,
    three_panels,
    without_aliases,
)

__all__ = ["PseudoLabelDisplay"]


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
            given_counts=np.bincount(class_codes(given, final.classes_), minlength=len(final.classes_)),
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

        names = class_names(self.display_labels, len(self.given_counts))
        self.axes_ = three_panels(plt, ax, len(names))
        self.figure_ = self.axes_[0].figure
        counts_ax, *line_axes = self.axes_

        self._plot_lines(line_axes, line_kwargs)
        order = frequent_first(self.given_counts)
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
        style = {"color": COLORS[0], "marker": MARKERS[0]} | without_aliases(line_kwargs)
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
