"""The embedding of a fit in two dimensions."""

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_consistent_length

from skdmlpl.inspection._fitted_rows import embed_fitted_rows, estimator_and_rows
from skdmlpl.plotting._classes import COLORS, GREY, MARKERS, class_codes, class_names, frequent_first
from skdmlpl.plotting._figures import (
    import_pyplot,
    label_classes,
    legend_beside,
    make_room,
    sizes_in_points,
    with_own_look,
)

__all__ = ["EmbeddingDisplay"]

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
    "unlabeled": ("unlabelled", {"marker": "x", "color": GREY, "markersize": 5}),
    "test": ("test", {"marker": "o", "color": "0.5", "markersize": 5, "markerfacecolor": "none"}),
}


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
            takes ``PCA(n_components=2, random_state=0)``.

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
            If `X` and `X_unlabeled` are not the rows given to `fit`, `y_test` has an unknown label or comes without
            `X_test`, or the reducer returns other than two columns.
        TypeError
            If the estimator does not embed rows or keeps no record of its rounds.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{cls.__name__}.from_estimator"
        import_pyplot(caller)
        if y_test is not None and X_test is None:
            raise ValueError(f"{caller} needs X_test where y_test is given.")

        final, rows = estimator_and_rows(estimator, X, X_unlabeled, caller)
        embeddings = embed_fitted_rows(final, rows, np.arange(len(rows)))
        has_label = final.labeled_iter_ >= 0
        kinds = np.where(has_label, np.where(final.labeled_iter_ == 0, "given", "pseudo"), "unlabeled")
        codes = np.full(len(embeddings), -1)
        codes[has_label] = class_codes(final.transduction_[has_label], final.classes_)

        test_embeddings = embeddings[:0]
        if X_test is not None:
            test_embeddings = np.asarray(estimator.transform(X_test))
            y_test = estimator.predict(X_test) if y_test is None else y_test
            check_consistent_length(X_test, y_test)
            try:
                codes = np.concatenate([codes, class_codes(y_test, final.classes_)])
            except ValueError as error:
                raise ValueError(f"y_test must hold labels that were given to fit. {error}") from error
            kinds = np.concatenate([kinds, np.full(len(test_embeddings), "test")])

        reducer = PCA(n_components=2, random_state=0) if reducer is None else clone(reducer, safe=False)
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
        names = class_names(self.display_labels, self.n_classes)
        codes, kinds = np.asarray(self.codes), np.asarray(self.kinds)
        check_consistent_length(self.coordinates, codes, kinds)
        unknown = np.setdiff1d(kinds, list(_ROW_STYLES))
        if len(unknown) > 0:
            raise ValueError(f"kinds must hold {', '.join(_ROW_STYLES)}. Got {', '.join(map(str, unknown))} as well.")
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure

        order = frequent_first(np.bincount(codes[kinds == "given"], minlength=self.n_classes))
        if self.n_classes <= len(COLORS):
            colors, markers = COLORS[: self.n_classes], MARKERS[: self.n_classes]
        else:
            colors = plt.get_cmap(cmap)(np.linspace(0, 1, self.n_classes))
            markers = MARKERS[:1] * self.n_classes
        ranks = np.append(np.argsort(order), -1)[codes]  # 0 for the most frequent class; no class has code and rank -1
        self._draw_rows(kinds, ranks, [*colors, GREY], [*markers, "x"], scatter_kwargs)
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
                look = with_own_look(look, scatter_kwargs)
                self.scatters_[kind].append(self.ax_.scatter(*coordinates[rows].T, **look))

    def _draw_legend(self, kinds, names, colors, markers):
        from matplotlib import rcParams
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import ListedColormap, Normalize
        from matplotlib.lines import Line2D

        def entry(label, **mark):
            return Line2D([], [], linestyle="none", label=label, **mark)

        few = len(names) <= len(COLORS)
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
