"""What the displays draw: values, order, names and room. Pixels are not compared."""

import pickle
import sys

import matplotlib
import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.plotting import EmbeddingDisplay, PseudoLabelDisplay, RecallDisplay

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex, to_rgba

# Sorted: elk, fox, owl. By frequency: owl, elk, fox.
CLASSES = np.array(["elk", "fox", "owl"])
N_GIVEN = np.array([5, 2, 9])


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def draw_rows(rng, counts):
    codes = np.repeat(np.arange(len(counts)), counts)
    return 4 * np.eye(3, 5)[codes] + rng.normal(size=(len(codes), 5)), CLASSES[codes]


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X, y = draw_rows(rng, N_GIVEN)
    X_unlabeled, _ = draw_rows(rng, [20, 8, 30])
    X_test, y_test = draw_rows(rng, [12, 12, 12])
    return X, y, X_unlabeled, X_test, y_test


@pytest.fixture(scope="module")
def fitted(rows):
    X, y, X_unlabeled, *_ = rows
    return DMLPseudoLabelClassifier(max_rounds=2, n_steps=3, random_state=0).fit(X, y, X_unlabeled)


@pytest.fixture(scope="module")
def labels_only(rows):
    X, y, X_unlabeled, *_ = rows
    return DMLPseudoLabelClassifier(max_rounds=0, n_steps=3, random_state=0).fit(X, y, X_unlabeled)


@pytest.fixture(scope="module")
def in_pipeline(rows):
    X, y, X_unlabeled, *_ = rows
    X = np.concatenate([X, X_unlabeled])
    y = np.concatenate([y.astype(object), np.full(len(X_unlabeled), None)])
    clf = DMLPseudoLabelClassifier(max_rounds=1, n_steps=3, random_state=0)
    return make_pipeline(StandardScaler(), clf).fit(X, y)


def tick_names(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def legend_names(legend):
    return [text.get_text() for text in legend.get_texts()]


def assert_texts_apart(texts):
    """Assert that no two of the texts overlap, in the figure as it is drawn."""
    boxes = [text.get_window_extent() for text in texts if text.get_visible() and text.get_text()]
    for i, box in enumerate(boxes):
        for other in boxes[:i]:
            overlap = min(box.x1, other.x1) > max(box.x0, other.x0) and min(box.y1, other.y1) > max(box.y0, other.y0)
            assert not overlap


def assert_tick_labels_apart(axes):
    axes[0].figure.draw_without_rendering()
    for ax in axes:
        assert_texts_apart(ax.get_xticklabels())
        assert_texts_apart(ax.get_yticklabels())


def long_tail(n_classes):
    return np.linspace(60, 2, n_classes).astype(int)


LONG_NAMES = [f"a name that is rather long and tells little, number {i}" for i in range(10)]


# Pseudo-labels


def test_pseudo_label_display_draws_the_history(fitted):
    display = PseudoLabelDisplay.from_estimator(fitted)
    history = fitted.history_
    coverage, mean_weight = (line.get_ydata() for line in display.lines_)
    assert_allclose(coverage, [record.n_pseudo_labeled / 58 for record in history])
    assert_allclose(mean_weight, [record.mean_weight for record in history])
    assert all(list(line.get_xdata()) == [0, 1, 2] for line in display.lines_)

    expected = np.column_stack([N_GIVEN, history[1].class_counts, history[2].class_counts])[[2, 0, 1]]
    assert_array_equal(display.im_.get_array(), expected)
    assert_array_equal([[text.get_text() for text in row] for row in display.text_], expected.astype(str))
    counts_ax, coverage_ax, weight_ax = display.axes_
    assert tick_names(counts_ax.yaxis) == ["owl", "elk", "fox"]
    assert tick_names(counts_ax.xaxis) == ["given", "1", "2"]
    assert (coverage_ax.get_ylabel(), weight_ax.get_ylabel()) == ("Coverage", "Mean weight")
    assert display.figure_ is counts_ax.figure


def test_every_value_of_the_lines_is_in_sight(fitted):
    display = PseudoLabelDisplay.from_estimator(fitted)
    for ax in display.axes_[1:]:
        assert ax.get_xlim()[0] < 0 and ax.get_xlim()[1] > 2
        assert ax.get_ylim()[0] < 0 and ax.get_ylim()[1] > 1


def test_counts_are_written_in_a_color_that_stands_out():
    display = PseudoLabelDisplay(
        class_counts=[[0, 0], [1000, 0]], coverage=[0, 1], mean_weight=[np.nan, 1], given_counts=[2, 1]
    ).plot()
    assert (display.text_[0, 1].get_color(), display.text_[1, 1].get_color()) == ("white", "black")


def test_classes_of_equal_frequency_keep_their_order():
    display = PseudoLabelDisplay(
        class_counts=np.zeros((1, 4), int), coverage=[0], mean_weight=[np.nan], given_counts=[3, 7, 3, 7]
    ).plot()
    assert tick_names(display.axes_[0].yaxis) == ["1", "3", "0", "2"]


def test_round_0_alone_has_no_pseudo_labels(labels_only):
    display = PseudoLabelDisplay.from_estimator(labels_only)
    assert_array_equal(display.coverage, [0])
    assert_array_equal(display.im_.get_array(), N_GIVEN[[2, 0, 1], None])
    counts_ax, coverage_ax, weight_ax = display.axes_
    assert tick_names(counts_ax.xaxis) == ["given"]
    assert tick_names(weight_ax.xaxis) == ["0"]
    assert [text.get_text() for text in coverage_ax.texts] == []
    assert [text.get_text() for text in weight_ax.texts] == ["no pseudo-labels"]


def test_without_unlabeled_rows_the_panels_say_so(rows):
    X, y, *_ = rows
    clf = DMLPseudoLabelClassifier(n_steps=3, random_state=0).fit(X, y)
    display = PseudoLabelDisplay.from_estimator(clf)
    assert np.isnan(display.coverage).all()
    for ax in display.axes_[1:]:
        assert [text.get_text() for text in ax.texts] == ["no unlabelled rows"]


def test_counts_are_written_where_they_fit():
    def draw(n_classes, ax=None, **kwargs):
        return PseudoLabelDisplay(
            class_counts=np.outer([0, 1, 2], long_tail(n_classes)),
            coverage=[0, 0.5, 1],
            mean_weight=[np.nan, 1, 0.9],
            given_counts=long_tail(n_classes),
        ).plot(ax, **kwargs)

    assert draw(10).text_ is not None
    many = draw(100)
    assert many.text_ is None
    bar = many.im_.colorbar
    many.figure_.draw_without_rendering()
    assert tick_names(bar.ax.yaxis) == ["0", "1", "3", "10", "30", "100"]
    assert draw(100, include_values=True).text_.shape == (100, 3)
    assert draw(2, include_values=False).im_.colorbar is not None
    _, ax = plt.subplots(figsize=(2, 2))
    assert draw(10, ax).text_ is None


def test_a_scale_without_counts_can_be_drawn():
    display = PseudoLabelDisplay(class_counts=[[0, 0]], coverage=[0], mean_weight=[np.nan], given_counts=[0, 0])
    display.plot(include_values=False).figure_.draw_without_rendering()
    assert display.im_.norm.vmax == 1


def test_pseudo_label_display_takes_three_axes(fitted):
    figure, axes = plt.subplots(3, layout="constrained")
    display = PseudoLabelDisplay.from_estimator(fitted, ax=list(axes))
    assert list(display.axes_) == list(axes) and display.figure_ is figure
    assert [ax.get_xlabel() for ax in axes] == ["Round"] * 3


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_pseudo_label_display_divides_one_subplot(fitted, layout):
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 5), layout=layout)
    display = PseudoLabelDisplay.from_estimator(fitted, ax=right)
    assert len(figure.axes) == 5 and display.figure_ is figure
    assert not right.axison and left.axison
    figure.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in display.axes_]
    assert all(box.x0 > left.get_window_extent().x1 for box in boxes)
    counts, coverage, weight = boxes
    assert counts.x1 < coverage.x0 and weight.y1 < coverage.y0


def test_pseudo_label_display_refuses_other_axes(fitted):
    _, axes = plt.subplots(2)
    with pytest.raises(ValueError, match=r"three axes\. Got 2 axes"):
        PseudoLabelDisplay.from_estimator(fitted, ax=axes)
    with pytest.raises(ValueError, match="outside of any grid"):
        PseudoLabelDisplay.from_estimator(fitted, ax=plt.figure().add_axes([0, 0, 1, 1]))


def test_line_kwargs_replace_the_defaults_under_any_name(fitted):
    display = PseudoLabelDisplay.from_estimator(fitted, line_kwargs={"c": "black", "lw": 3})
    assert all(line.get_color() == "black" and line.get_linewidth() == 3 for line in display.lines_)


def test_pseudo_label_display_takes_a_pipeline(in_pipeline):
    display = PseudoLabelDisplay.from_estimator(in_pipeline)
    assert_array_equal(display.given_counts, N_GIVEN)
    assert_array_equal(display.coverage, [0, 1])


# Embedding


def test_embedding_display_draws_the_principal_components(fitted, rows):
    X, _, X_unlabeled, X_test, y_test = rows
    display = EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled, X_test=X_test, y_test=y_test)
    train = fitted.transform(np.concatenate([X, X_unlabeled]))
    pca = PCA(n_components=2).fit(train)
    assert_allclose(display.coordinates, pca.transform(np.concatenate([train, fitted.transform(X_test)])), atol=1e-6)
    assert_array_equal(CLASSES[display.codes], np.concatenate([fitted.transduction_, y_test]))
    assert_array_equal(display.kinds, ["given"] * 16 + ["pseudo"] * 58 + ["test"] * 36)
    assert display.ax_.get_xlabel() == f"PCA 1 ({pca.explained_variance_ratio_[0]:.0%} of variance)"

    for kind in ("given", "pseudo", "test"):
        # One collection for each class, frequent to rare.
        for collection, code in zip(display.scatters_[kind], [2, 0, 1], strict=True):
            here = (display.kinds == kind) & (display.codes == code)
            assert_allclose(collection.get_offsets(), display.coordinates[here])
    assert display.scatters_["unlabeled"] == []


def test_each_class_has_a_color_and_a_shape_in_all_kinds_of_rows(fitted, rows):
    X, _, X_unlabeled, X_test, y_test = rows
    display = EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled, X_test=X_test, y_test=y_test)
    given, pseudo, test = (display.scatters_[kind] for kind in ("given", "pseudo", "test"))
    handles = dict(zip(legend_names(display.legend_), display.legend_.legend_handles, strict=True))
    assert len({tuple(c.get_facecolor()[0]) for c in given}) == 3
    assert len({c.get_paths()[0].vertices.tobytes() for c in given}) == 3
    for i, name in enumerate(["owl", "elk", "fox"]):
        color = to_hex(given[i].get_facecolor()[0])
        assert color == to_hex(pseudo[i].get_facecolor()[0]) == to_hex(test[i].get_edgecolor()[0])
        assert color == handles[name].get_color()
        assert len(test[i].get_facecolor()) == 0  # hollow
        assert to_hex(given[i].get_edgecolor()[0]) == "#000000"
        shapes = {c.get_paths()[0].vertices.tobytes() for c in (given[i], pseudo[i], test[i])}
        assert len(shapes) == 1
    assert given[0].get_sizes()[0] > test[0].get_sizes()[0] > 0


def test_legend_counts_the_rows_of_each_kind_there_is(fitted, labels_only, rows):
    X, _, X_unlabeled, X_test, _ = rows
    legend = EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled).legend_
    assert legend_names(legend) == ["Rows", "labelled (16)", "pseudo-labelled (58)", "Classes", "owl", "elk", "fox"]
    bold = [text.get_text() for text in legend.get_texts() if text.get_fontweight() == "bold"]
    assert bold == ["Rows", "Classes"]
    legend = EmbeddingDisplay.from_estimator(labels_only, X, X_unlabeled, X_test=X_test).legend_
    assert legend_names(legend)[:4] == ["Rows", "labelled (16)", "unlabelled (58)", "test (36)"]


def test_unlabeled_rows_are_grey_whatever_the_class(labels_only, rows):
    X, _, X_unlabeled, *_ = rows
    display = EmbeddingDisplay.from_estimator(labels_only, X, X_unlabeled)
    (collection,) = display.scatters_["unlabeled"]
    assert_allclose(collection.get_offsets(), display.coordinates[16:])
    assert to_hex(collection.get_edgecolor()[0]) == to_hex("0.6")
    assert_array_equal(display.codes[16:], -1)


def test_test_rows_without_labels_get_the_predicted_ones(fitted, rows):
    X, _, X_unlabeled, X_test, _ = rows
    display = EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled, X_test=X_test)
    assert_array_equal(CLASSES[display.codes[-36:]], fitted.predict(X_test))


def test_embedding_display_takes_a_pipeline_with_unlabeled_rows_inside(in_pipeline, rows):
    X, _, X_unlabeled, *_ = rows
    display = EmbeddingDisplay.from_estimator(in_pipeline, np.concatenate([X, X_unlabeled]))
    assert_array_equal(display.kinds, ["given"] * 16 + ["pseudo"] * 58)
    expected = PCA(n_components=2).fit_transform(in_pipeline.transform(np.concatenate([X, X_unlabeled])))
    assert_allclose(display.coordinates, expected, atol=1e-6)


def test_embedding_display_works_where_transformers_return_data_frames(fitted, rows):
    X, _, X_unlabeled, X_test, _ = rows
    with sklearn.config_context(transform_output="pandas"):
        display = EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled, X_test=X_test)
    assert type(display.coordinates) is np.ndarray


class FirstTwo:
    """A reducer with `fit` and `transform` alone, unknown to scikit-learn."""

    def fit(self, X):
        self.n_rows = len(X)
        return self

    def transform(self, X):
        return X[:, :2] / self.n_rows


class Keep(BaseEstimator):
    def fit_transform(self, X, y=None):
        return X


def test_any_reducer_will_do(fitted, rows):
    X, _, X_unlabeled, X_test, _ = rows
    embeddings = fitted.transform(np.concatenate([X, X_unlabeled, X_test]))
    embeddings[:74] = embeddings[:74].astype(np.float32)  # as the rows given to fit are embedded

    reducer = FirstTwo()
    display = EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled, X_test=X_test, reducer=reducer)
    assert_allclose(display.coordinates, embeddings[:, :2] / 74)  # not fitted to test rows
    assert not hasattr(reducer, "n_rows")
    assert display.ax_.get_ylabel() == "FirstTwo 2"

    reducer = TSNE(perplexity=5, max_iter=250, random_state=0)
    display = EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled, X_test=X_test, reducer=reducer)
    assert display.coordinates.shape == (110, 2)
    assert not hasattr(reducer, "embedding_")

    with pytest.raises(ValueError, match=r"reducer must reduce the embeddings to 2 columns. Got .* from Keep\(\)"):
        EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled, reducer=Keep())


def test_embedding_display_says_what_is_wrong_with_the_rows(fitted, rows):
    X, _, X_unlabeled, X_test, y_test = rows
    with pytest.raises(ValueError, match=r"the 74 rows given to fit\. Got 16 rows"):
        EmbeddingDisplay.from_estimator(fitted, X)
    with pytest.raises(ValueError, match=r"rows given to fit, in the same order\. Row \d+ is not"):
        EmbeddingDisplay.from_estimator(fitted, X[::-1], X_unlabeled)
    with pytest.raises(ValueError, match="needs X_test where y_test is given"):
        EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled, y_test=y_test)
    with pytest.raises(ValueError, match=r"y_test must hold labels that were given to fit.*emu"):
        EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled, X_test=X_test, y_test=["emu"] * 36)
    with pytest.raises(ValueError, match=r"y_test must hold labels that were given to fit.*'foxes'"):
        EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled, X_test=X_test, y_test=["foxes"] * 36)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled, X_test=X_test, y_test=y_test[1:])


def embedding_of(n_classes, **kwargs):
    """Return a display of given rows, `long_tail` of each class, and one test row of each class."""
    codes = np.concatenate([np.repeat(np.arange(n_classes), long_tail(n_classes)[::-1]), np.arange(n_classes)])
    kinds = np.where(np.arange(len(codes)) < len(codes) - n_classes, "given", "test")
    coordinates = np.random.default_rng(0).normal(size=(len(codes), 2))
    return EmbeddingDisplay(coordinates=coordinates, codes=codes, kinds=kinds, n_classes=n_classes, **kwargs)


def test_the_color_of_many_classes_says_how_frequent_they_are():
    display = embedding_of(11).plot(cmap="cividis")
    (collection,) = display.scatters_["test"]
    cividis = matplotlib.colormaps["cividis"](np.linspace(0, 1, 11))
    assert_allclose(collection.get_edgecolor(), cividis)
    # The last class is the most frequent one, and rare ones are drawn last.
    assert_allclose(collection.get_offsets(), display.coordinates[-11:][::-1])
    assert legend_names(display.legend_) == [
        "Rows",
        f"labelled ({long_tail(11).sum()})",
        "test (11)",
        "Classes, frequent to rare",
    ]
    (bar,) = display.ax_.child_axes
    assert tick_names(bar.yaxis) == [str(i) for i in range(10, -1, -1)]
    assert bar.get_ylim() == (10.5, -0.5)


def test_marks_are_smaller_where_there_are_many():
    few, many = embedding_of(2).plot(), embedding_of(100).plot()
    assert 0 < many.scatters_["given"][0].get_sizes()[0] < few.scatters_["given"][0].get_sizes()[0]


def test_scatter_kwargs_replace_the_defaults():
    display = embedding_of(2).plot(scatter_kwargs={"s": 7, "edgecolors": "red"})
    for collection in display.scatters_["given"] + display.scatters_["test"]:
        assert_array_equal(collection.get_sizes(), [7])
        assert_allclose(collection.get_edgecolor()[0], to_rgba("red"))


@pytest.mark.parametrize("own", [{"linewidth": 2}, {"lw": 2}, {"ec": "red", "linewidths": 2}], ids=str)
def test_scatter_kwargs_may_have_any_name_that_matplotlib_takes(own):
    for collection in embedding_of(2).plot(scatter_kwargs=own).scatters_["given"]:
        assert_allclose(collection.get_linewidth(), 2)
        if "ec" in own:
            assert_allclose(collection.get_edgecolor()[0], to_rgba("red"))


@pytest.mark.parametrize(("name", "edges"), [("c", False), ("color", True)])
def test_one_color_of_the_callers_takes_the_place_of_the_classes(name, edges):
    for collection in embedding_of(2).plot(scatter_kwargs={name: "red"}).scatters_["given"]:
        assert_allclose(np.unique(collection.get_facecolor(), axis=0), [to_rgba("red")])
        assert (np.unique(collection.get_edgecolor(), axis=0).tolist() == [list(to_rgba("red"))]) == edges


def test_embedding_display_refuses_unknown_kinds_and_odd_lengths():
    display = embedding_of(2)
    display.kinds = np.where(display.kinds == "test", "tset", "given")
    with pytest.raises(ValueError, match=r"kinds must hold unlabeled, pseudo, test, given\. Got tset as well"):
        display.plot()
    display.kinds = display.kinds[1:]
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        display.plot()


@pytest.mark.parametrize("n_classes", [10, 100])
def test_legend_of_the_embedding_stays_in_the_place_of_the_axes(n_classes):
    # Without a layout engine, as the axes were when they were given.
    figure, (ax, right) = plt.subplots(1, 2, figsize=(12, 4))
    place = ax.get_window_extent().frozen()
    embedding_of(n_classes).plot(ax)
    figure.draw_without_rendering()
    assert ax.get_tightbbox().x1 <= place.x1 + 1 < right.get_window_extent().x0
    # With one, nothing leaves the figure.
    for size in [(12, 3), (5, 3), (6, 8)]:
        figure, ax = plt.subplots(figsize=size, layout="constrained")
        display = embedding_of(n_classes).plot(ax)
        figure.draw_without_rendering()
        box = display.ax_.get_tightbbox()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert_texts_apart(display.legend_.get_texts())


# Recall


def test_recall_display_draws_the_recall_of_each_class(fitted, labels_only, rows):
    *_, X_test, y_test = rows
    display = RecallDisplay.from_estimator({"with": fitted, "without": labels_only}, X_test, y_test)
    for line, clf, name in zip(display.lines_, (fitted, labels_only), ("with", "without"), strict=True):
        predicted = clf.predict(X_test)
        recalls = [np.mean(predicted[y_test == label] == label) for label in ("owl", "elk", "fox")]
        assert_allclose(line.get_xdata(), recalls)
        assert_array_equal(line.get_ydata(), [0, 1, 2])
        assert line.get_label() == f"{name} (mean = {balanced_accuracy_score(y_test, predicted):.2f})"
    first, second = (line.get_xdata() for line in display.lines_)
    ends = [segment[:, 0] for segment in display.ranges_.get_segments()]
    assert_allclose(ends, np.column_stack([np.minimum(first, second), np.maximum(first, second)]))
    assert tick_names(display.ax_.yaxis) == ["owl (9)", "elk (5)", "fox (2)"]
    assert display.ax_.yaxis_inverted()
    assert display.figure_ is display.ax_.figure


def test_one_estimator_needs_no_name(in_pipeline, rows):
    *_, X_test, y_test = rows
    display = RecallDisplay.from_estimator(in_pipeline, X_test, y_test)
    assert display.names == ["Pipeline"]
    assert display.ranges_ is None
    assert_array_equal(display.counts, N_GIVEN)


def test_training_labels_come_from_any_semi_supervised_classifier(rows):
    X, y, X_unlabeled, X_test, y_test = rows
    codes = np.searchsorted(CLASSES, y)
    base = LogisticRegression()
    self_training = SelfTrainingClassifier(base, threshold=0.6).fit(
        np.concatenate([X, X_unlabeled]), np.concatenate([codes, np.full(len(X_unlabeled), -1)])
    )
    both = {"base": base.fit(X, codes), "self-training": self_training}
    display = RecallDisplay.from_estimator(both, X_test, np.searchsorted(CLASSES, y_test))
    assert_array_equal(display.counts, N_GIVEN)
    assert (self_training.labeled_iter_ > 0).any()  # else all counted labels would do


def test_training_labels_may_be_given(rows):
    X, y, _, X_test, y_test = rows
    clf = LogisticRegression().fit(X, y)
    y_train = np.concatenate([y.astype(object), [None, None]])
    display = RecallDisplay.from_estimator(clf, X_test, y_test, y_train=y_train)
    assert_array_equal(display.counts, N_GIVEN)
    with pytest.raises(ValueError, match="from_estimator needs y_train, the labels given to fit"):
        RecallDisplay.from_estimator(clf, X_test, y_test)
    with pytest.raises(ValueError, match=r"y_train must hold the labels given to fit\. .* at least two classes"):
        RecallDisplay.from_estimator(clf, X_test, y_test, y_train=[-1, -1])


@pytest.mark.parametrize(("classes", "mark"), [([0, 1], -1), (["a", "b"], None)], ids=["-1", "None"])
def test_recall_display_takes_no_mark_for_a_class(classes, mark):
    y_test = np.array([*classes, mark, mark], dtype=object if mark is None else int)
    with pytest.raises(ValueError, match="Got marks of unlabelled rows for 2 of 4: leave them out"):
        RecallDisplay.from_predictions(y_test, [classes[0]] * 4, y_train=classes)


def test_minus_one_beside_one_has_a_recall():
    display = RecallDisplay.from_predictions([-1, 1, -1], [-1, 1, 1], y_train=[-1, 1])
    assert_allclose(display.recalls, [[0.5, 1]])


def test_classes_of_training_and_test_rows_are_shown():
    y_train = [0, 0, 1, 1, 1, -1]
    display = RecallDisplay.from_predictions([0, 0, 7, 7], [0, 1, 1, 1], y_train=y_train)
    assert tick_names(display.ax_.yaxis) == ["1 (3)", "0 (2)", "7 (0)"]
    assert_array_equal(display.lines_[0].get_xdata(), [np.nan, 0.5, 0])  # no test rows of class 1
    assert display.lines_[0].get_label() == "Classifier (mean = 0.25)"


def test_a_class_without_test_rows_has_no_range():
    display = RecallDisplay.from_predictions([0, 0], {"a": [0, 1], "b": [0, 0]}, y_train=[0, 0, 1])
    (segment,) = display.ranges_.get_segments()
    assert_allclose(segment, [[0.5, 0], [1, 0]])


def test_recall_display_refuses_regressors(rows):
    X, _, _, X_test, y_test = rows
    model = LinearRegression().fit(X, X[:, 0])
    with pytest.raises(ValueError, match=r"needs fitted classifiers. Got LinearRegression\(\) as 'line'"):
        RecallDisplay.from_estimator({"line": model}, X_test, y_test, y_train=y_test)


def test_recalls_of_any_number_of_classifiers_can_be_told_apart():
    names = [f"no. {i}" for i in range(25)]
    display = RecallDisplay(recalls=np.full((25, 2), 0.5), names=names, counts=[2, 1]).plot()
    assert len({(line.get_color(), line.get_marker()) for line in display.lines_}) == 25
    sizes = [line.get_markersize() for line in display.lines_]
    assert max(sizes) <= 2 * min(sizes)


def test_equal_recalls_do_not_hide_each_other():
    display = RecallDisplay(recalls=np.full((3, 2), 0.5), names=list("abc"), counts=[2, 1]).plot()
    sizes = [line.get_markersize() for line in display.lines_]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 3


def test_a_second_display_in_the_same_axes_looks_different():
    first = RecallDisplay(recalls=[[0.5, 0.6]], names=["a"], counts=[2, 1]).plot()
    second = RecallDisplay(recalls=[[0.4, 0.7]], names=["b"], counts=[2, 1]).plot(first.ax_)
    (a,), (b,) = first.lines_, second.lines_
    assert a.get_color() != b.get_color() and a.get_marker() != b.get_marker()
    assert legend_names(first.ax_.get_legend()) == ["a (mean = 0.55)", "b (mean = 0.55)"]


def test_line_kwargs_for_all_or_for_each_classifier():
    display = RecallDisplay(recalls=[[0.5, 0.6], [0.4, 0.7]], names=["a", "b"], counts=[2, 1])
    assert [line.get_linestyle() for line in display.plot(line_kwargs={"ls": ":"}).lines_] == [":", ":"]
    display.plot(line_kwargs=[{"color": "red"}, {"label": "mine"}])
    assert display.lines_[0].get_color() == "red" and display.lines_[1].get_label() == "mine"
    with pytest.raises(ValueError, match=r"each of the 2 classifiers\. Got 2 names and 1 dicts"):
        display.plot(line_kwargs=[{}])
    display.names = ["a"]
    with pytest.raises(ValueError, match=r"each of the 2 classifiers\. Got 1 names and 2 dicts"):
        display.plot()


@pytest.mark.parametrize("n_classes, size", [(2, (4, 3)), (2, (12, 2.5)), (100, (4, 3)), (100, (5, 10))])
def test_legend_of_the_recalls_hides_no_mark(n_classes, size):
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    recalls = np.linspace(0, 1, 2 * n_classes).reshape(2, -1)
    RecallDisplay(recalls=recalls, names=["one", "another"], counts=long_tail(n_classes)).plot(ax)
    figure.draw_without_rendering()
    first_class = ax.transData.transform([0, 0])[1]
    assert ax.get_legend().get_window_extent().y0 > first_class
    assert ax.get_legend().get_window_extent().y1 <= ax.get_window_extent().y1


def test_legend_of_the_recalls_takes_the_columns_that_fit():
    def draw(width):
        _, ax = plt.subplots(figsize=(width, 3), layout="constrained")
        return RecallDisplay(recalls=[[0.5, 0.6], [0.4, 0.7]], names=["this one", "that one"], counts=[2, 1]).plot(ax)

    def texts(display):
        display.figure_.draw_without_rendering()
        return display.ax_.get_legend().get_texts()

    first, second = (text.get_window_extent() for text in texts(draw(7)))
    assert first.y0 == second.y0 and first.x1 < second.x0
    first, second = (text.get_window_extent() for text in texts(draw(4)))
    assert first.y0 > second.y1 and first.x0 == second.x0
    assert texts(draw(2))[0].get_fontsize() == 7 < texts(draw(4))[0].get_fontsize()


# All displays


@pytest.mark.parametrize(
    "size, n_classes, display_labels",
    [
        (None, 10, LONG_NAMES),
        (None, 100, None),
        ((5, 3.2), 2, None),
        ((5, 3.2), 10, None),
        ((5, 3.2), 100, LONG_NAMES),
        ((14, 3.2), 100, None),
    ],
)
def test_tick_labels_keep_apart(size, n_classes, display_labels):
    def axes():
        return None if size is None else plt.subplots(figsize=size, layout="constrained")[1]

    if display_labels is not None:
        display_labels = [f"{name} {i}" for i in range(n_classes // 10) for name in display_labels]
    counts = long_tail(n_classes)
    recalls = RecallDisplay(
        recalls=[np.linspace(0, 1, n_classes)], names=["a"], counts=counts, display_labels=display_labels
    ).plot(axes())
    assert_tick_labels_apart([recalls.ax_])
    pseudo_labels = PseudoLabelDisplay(
        class_counts=np.outer(np.arange(12), counts),
        coverage=np.linspace(0, 1, 12),
        mean_weight=np.linspace(1, 0, 12),
        given_counts=counts,
        display_labels=display_labels,
    ).plot(axes())
    assert_tick_labels_apart([*pseudo_labels.axes_, *pseudo_labels.figure_.axes])
    embedding = embedding_of(n_classes, display_labels=display_labels).plot(axes())
    assert_tick_labels_apart([embedding.ax_, *embedding.ax_.child_axes])


def test_long_names_are_shortened_as_far_as_they_stay_different():
    def drawn(names):
        display = RecallDisplay(recalls=[[1, 1, 1]], names=["a"], counts=[3, 2, 1], display_labels=names).plot()
        return tick_names(display.ax_.yaxis)

    assert drawn(["x" * 24, "y" * 40, "z"]) == ["x" * 24 + " (3)", "y" * 11 + "…" + "y" * 12 + " (2)", "z (1)"]
    start, end = "s" * 15, "e" * 25
    shortened = drawn([f"{start}left{end}", f"{start}right{end}", "z"])
    assert len(set(shortened)) == 3 and all("…" in name for name in shortened[:2])
    # What cannot be shortened without mistaking one for the other is written in full.
    same = [f"{'s' * 30}{i}{'e' * 30}" for i in range(2)]
    assert drawn([*same, "z"])[0].startswith(same[0][:30])
    assert len(set(drawn([*same, "z"]))) == 3


def test_display_labels_name_the_classes_in_their_own_order(fitted, rows):
    X, _, X_unlabeled, X_test, y_test = rows
    labels = ["Alces", "Vulpes", "Strix"]
    display = PseudoLabelDisplay.from_estimator(fitted, display_labels=labels)
    assert tick_names(display.axes_[0].yaxis) == ["Strix", "Alces", "Vulpes"]
    display = EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled, display_labels=labels)
    assert legend_names(display.legend_)[-3:] == ["Strix", "Alces", "Vulpes"]
    display = RecallDisplay.from_estimator(fitted, X_test, y_test, display_labels=labels)
    assert tick_names(display.ax_.yaxis) == ["Strix (9)", "Alces (5)", "Vulpes (2)"]
    with pytest.raises(ValueError, match=r"one name for each of the 3 classes\. Got 2"):
        RecallDisplay.from_estimator(fitted, X_test, y_test, display_labels=labels[:2])


def test_figures_are_higher_for_many_classes_within_reason():
    def height(n_classes):
        return RecallDisplay(recalls=np.ones((1, n_classes)), names=["a"], counts=np.ones(n_classes, int)).plot()

    heights = [height(n).figure_.get_figheight() for n in (2, 10, 30, 100, 200)]
    usual = plt.rcParams["figure.figsize"][1]
    assert heights[0] == heights[1] == usual < heights[2] < heights[3] == heights[4] == 2 * usual


@pytest.mark.parametrize("draw", [PseudoLabelDisplay.from_estimator, EmbeddingDisplay.from_estimator])
def test_estimators_that_do_not_fit_are_refused(draw, rows):
    X, y, *_ = rows
    args = () if draw == PseudoLabelDisplay.from_estimator else (X,)
    with pytest.raises(NotFittedError):
        draw(DMLPseudoLabelClassifier(), *args)
    with pytest.raises(TypeError, match=r"such as DMLPseudoLabelClassifier\. Got LogisticRegression, which has no"):
        draw(LogisticRegression().fit(X, y), *args)


def test_figures_can_be_pickled(fitted, rows):
    X, _, X_unlabeled, X_test, y_test = rows
    for display in (
        PseudoLabelDisplay.from_estimator(fitted),
        EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled),
        RecallDisplay.from_estimator(fitted, X_test, y_test),
    ):
        assert len(pickle.loads(pickle.dumps(display)).figure_.axes) == len(display.figure_.axes)


def test_drawing_changes_neither_settings_nor_data(fitted, rows):
    X, _, X_unlabeled, X_test, y_test = rows
    settings, data = dict(matplotlib.rcParams), [part.copy() for part in rows]
    PseudoLabelDisplay.from_estimator(fitted)
    EmbeddingDisplay.from_estimator(fitted, X, X_unlabeled, X_test=X_test, y_test=y_test)
    RecallDisplay.from_estimator(fitted, X_test, y_test)
    assert dict(matplotlib.rcParams) == settings
    for part, before in zip(rows, data, strict=True):
        assert_array_equal(part, before)


@pytest.mark.parametrize(
    "call",
    [
        lambda: PseudoLabelDisplay.from_estimator(None),
        lambda: EmbeddingDisplay.from_estimator(None, None),
        lambda: RecallDisplay.from_estimator(None, None, None),
        lambda: RecallDisplay.from_predictions(None, None, y_train=None),
        lambda: PseudoLabelDisplay(class_counts=0, coverage=0, mean_weight=0, given_counts=0).plot(),
        lambda: EmbeddingDisplay(coordinates=0, codes=0, kinds=0, n_classes=0).plot(),
        lambda: RecallDisplay(recalls=0, names=0, counts=0).plot(),
    ],
)
def test_without_matplotlib_each_call_says_how_to_install_it(monkeypatch, call):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"Display\.\w+ needs matplotlib\. .*skdmlpl\[plot\]"):
        call()
