"""Selectors against naive loops, and their balance, parameters and edge cases."""

import math

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.neighbors import NearestNeighbors

from skdmlpl._label_spreading import neighbor_graph, unit_rows
from skdmlpl.interfaces import PseudoLabels, Selector
from skdmlpl.neighbors import ExactNeighbors
from skdmlpl.selectors import ConfidenceSelector, GraphPropagationSelector, NearestNeighborSelector

# The share of the votes that is spread evenly over the classes.
FLOOR = 0.01
SELECTORS = [GraphPropagationSelector(), NearestNeighborSelector(), ConfidenceSelector()]
every = pytest.mark.parametrize("selector", SELECTORS, ids=lambda selector: type(selector).__name__)
by_neighbors = pytest.mark.parametrize("selector", SELECTORS[:2], ids=lambda selector: type(selector).__name__)


def problem(*class_sizes, n_unlabeled=30, n_features=6, spread=0.35, seed=0):
    """Return embeddings, y and proba of noisy clusters; every third row's probabilities are for a random class."""
    rng = np.random.default_rng(seed)
    n_classes = len(class_sizes)
    y = np.repeat([*range(n_classes), -1], [*class_sizes, n_unlabeled])
    true = np.where(y < 0, rng.integers(n_classes, size=len(y)), y)
    embeddings = np.eye(n_features)[true] + spread * rng.normal(size=(len(y), n_features))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    believed = np.where(rng.random(len(y)) < 1 / 3, rng.integers(n_classes, size=len(y)), true)
    proba = rng.dirichlet(np.ones(n_classes), size=len(y)) + 0.5 * np.eye(n_classes)[believed]
    proba /= proba.sum(axis=1, keepdims=True)
    order = rng.permutation(len(y))
    return embeddings[order].astype(np.float32), y[order], proba[order].astype(np.float32)


PROBLEMS = {
    "long tail": problem(25, 8, 2),
    "one row a class": problem(1, 1, 1, 1),
    "two classes": problem(9, 3),
    "fewer unlabelled rows than neighbours": problem(5, 3, n_unlabeled=2),
    "three rows in all": problem(1, 1, n_unlabeled=1),
}
problems = pytest.mark.parametrize("arguments", PROBLEMS.values(), ids=PROBLEMS)


def naive_answer(votes, proba):
    """Return label, weight and posterior of each row from lists of votes and of probabilities."""
    labels, weights, posteriors = [], [], []
    for row, p in zip(votes, proba.tolist(), strict=True):
        total, n_classes = sum(row), len(row)
        share = [vote / total if total else 1 / n_classes for vote in row]
        posterior = [((1 - FLOOR) * s + FLOOR / n_classes) * q for s, q in zip(share, p, strict=True)]
        ranked = sorted(posterior)
        labels.append(posterior.index(ranked[-1]))
        weights.append((ranked[-1] - ranked[-2]) / sum(posterior))
        posteriors.append([p / sum(posterior) for p in posterior])
    return labels, weights, posteriors


def assert_answers(result, expected):
    labels, weights, posteriors = expected
    assert isinstance(result, PseudoLabels)
    np.testing.assert_array_equal(result.labels, labels)
    np.testing.assert_allclose(result.weights, weights, atol=1e-4)
    np.testing.assert_allclose(result.proba, posteriors, atol=1e-4)


# -- nearest neighbours


def naive_nearest_votes(embeddings, y, n_classes, k, temperature):
    embeddings = embeddings.tolist()
    votes = []
    for row in embeddings:
        votes.append([])
        for c in range(n_classes):
            cosines = [
                sum(a * b for a, b in zip(row, other, strict=True))
                for other, label in zip(embeddings, y, strict=True)
                if label == c
            ]
            nearest = sorted(cosines, reverse=True)[:k]
            votes[-1].append(sum(math.exp((cosine - 1) / temperature) for cosine in nearest) / len(nearest))
    return votes


@problems
@pytest.mark.parametrize(("n_neighbors", "temperature"), [(1, 0.1), (3, 0.5), (10, 0.1), (100, 2.0)])
def test_nearest_agrees_with_naive_loops(arguments, n_neighbors, temperature):
    embeddings, y, proba = arguments
    selector = NearestNeighborSelector(n_neighbors=n_neighbors, n_clusters=25, temperature=temperature)
    votes = naive_nearest_votes(embeddings, y, proba.shape[1], n_neighbors, temperature)
    assert_answers(selector.select(*arguments), naive_answer(votes, proba))


def test_nearest_votes_by_cluster_centres():
    # Three tight groups a class, of which the middle one of each class has more rows than the others together.
    rng = np.random.default_rng(0)
    places = rng.normal(size=(6, 8))
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    group = np.repeat(np.arange(6), [3, 20, 4, 2, 15, 3])
    labeled = places[group] + 1e-5 * rng.normal(size=(len(group), 8))
    embeddings = np.concatenate([labeled, rng.normal(size=(40, 8))])
    embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    y = np.concatenate([group // 3, np.full(40, -1)])
    proba = rng.dirichlet([1, 1], size=len(y)).astype(np.float32)

    votes = naive_nearest_votes(
        np.concatenate([places, embeddings]), np.r_[np.arange(6) // 3, np.full(len(y), -1)], 2, 2, 0.5
    )
    selector = NearestNeighborSelector(n_neighbors=2, n_clusters=3, temperature=0.5)
    assert_answers(selector.select(embeddings, y, proba), naive_answer(votes[6:], proba))


def test_nearest_does_not_count_repeated_rows():
    embeddings, y, proba = problem(6, 4, 3)
    copies = np.repeat(np.flatnonzero(y == 0), 7)
    selector = NearestNeighborSelector(n_neighbors=3)
    alone = selector.select(embeddings, y, proba)
    together = selector.select(*(np.concatenate([part, part[copies]]) for part in (embeddings, y, proba)))
    np.testing.assert_array_equal(together.labels[: len(y)], alone.labels)
    np.testing.assert_allclose(together.weights[: len(y)], alone.weights, atol=1e-5)


def test_nearest_does_not_count_rows_that_are_nearly_repeated():
    # As many centres as rows: what evens the classes out here is the mean over the neighbours, not the clustering.
    embeddings, y, proba = problem(6, 4, 3)
    copies = np.repeat(np.flatnonzero(y == 0), 7)
    moved = embeddings[copies] + np.random.default_rng(0).normal(scale=1e-3, size=(len(copies), 6)).astype(np.float32)
    selector = NearestNeighborSelector(n_neighbors=1000, n_clusters=1000)
    alone = selector.select(embeddings, y, proba)
    extended = (np.concatenate([embeddings, moved]), np.r_[y, y[copies]], np.concatenate([proba, proba[copies]]))
    together = selector.select(*extended)
    # Distances change by a thousandth, votes by a hundredth at a temperature of 0.1.
    np.testing.assert_allclose(together.weights[: len(y)], alone.weights, atol=0.03)
    decided = alone.weights > 0.03
    np.testing.assert_array_equal(together.labels[: len(y)][decided], alone.labels[decided])


# -- propagation over the graph


def naive_graph(embeddings, k):
    """Return the normalised adjacency matrix, and the rows' neighbours by loops."""
    n = len(embeddings)
    embeddings = embeddings.astype(np.float64)
    adjacency = np.zeros((n, n))
    for i in range(n):
        others = sorted((j for j in range(n) if j != i), key=lambda j: -(embeddings[i] @ embeddings[j]))
        for j in others[:k]:
            weight = max(0.0, embeddings[i] @ embeddings[j]) ** 3
            adjacency[i, j] += weight
            adjacency[j, i] += weight
    degree = adjacency.sum(axis=1)
    scale = np.array([1 / math.sqrt(d) if d > 0 else 0.0 for d in degree])
    return scale[:, None] * adjacency * scale


def naive_start(y, n_classes):
    start = np.zeros((len(y), n_classes))
    for i, label in enumerate(y):
        if label >= 0:
            start[i, label] = 1 / np.sum(y == label)
    return start


@problems
@pytest.mark.parametrize(("n_neighbors", "alpha", "n_iter"), [(1, 0.9, 30), (3, 0.5, 4), (10, 0.9, 30), (100, 0.99, 1)])
def test_propagation_agrees_with_naive_loops(arguments, n_neighbors, alpha, n_iter):
    embeddings, y, proba = arguments
    graph, start = naive_graph(embeddings, n_neighbors), naive_start(y, proba.shape[1])
    mass = start
    for _ in range(n_iter):
        mass = alpha * graph @ mass + start
    result = GraphPropagationSelector(n_neighbors, alpha, n_iter).select(*arguments)
    assert_answers(result, naive_answer(mass.tolist(), proba))


@problems
@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.99])
def test_propagation_settles_at_the_closed_form(arguments, alpha):
    embeddings, y, proba = arguments
    graph, start = naive_graph(embeddings, 4), naive_start(y, proba.shape[1])
    settled = np.linalg.solve(np.eye(len(y)) - alpha * graph, start)
    result = GraphPropagationSelector(4, alpha, n_iter=2000).select(*arguments)
    assert_answers(result, naive_answer(settled.tolist(), proba))


@pytest.mark.parametrize("trust", [0.0, 0.3, 1.0])
def test_votes_count_as_far_as_they_are_trusted(trust):
    embeddings, y, proba = problem(25, 8, 2)
    # The network knows nothing, so that the posterior is the votes.
    votes = GraphPropagationSelector().select(embeddings, y, np.full_like(proba, 1 / 3)).proba
    result = GraphPropagationSelector(trust=trust).select(embeddings, y, proba)
    expected = votes.astype(np.float64) ** trust * proba
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(result.proba, expected, rtol=1e-4)
    np.testing.assert_array_equal(result.labels, expected.argmax(axis=1))
    second, first = np.sort(expected, axis=1)[:, -2:].T
    np.testing.assert_allclose(result.weights, first - second, atol=1e-5)


def test_propagation_without_steps_leaves_unlabelled_rows_to_the_network():
    embeddings, y, proba = problem(5, 3)
    for parameters in ({"n_iter": 0}, {"alpha": 0.0}):
        labels, weights, _ = GraphPropagationSelector(**parameters).select(embeddings, y, proba)
        np.testing.assert_array_equal(labels[y < 0], proba[y < 0].argmax(axis=1))
        np.testing.assert_allclose(weights[y < 0], np.abs(np.diff(proba[y < 0])).ravel(), atol=1e-6)


@pytest.mark.parametrize(
    "index", [NearestNeighbors(), NearestNeighbors(algorithm="brute"), ExactNeighbors(64)], ids=str
)
def test_propagation_takes_any_neighbor_index(index):
    arguments = problem(25, 8, 2)
    before = dict(vars(index))
    expected = GraphPropagationSelector().select(*arguments)
    assert_answers(GraphPropagationSelector(neighbor_index=index).select(*arguments), expected)
    assert vars(index) == before


def test_propagation_uses_the_neighbor_index():
    class Recorder(ExactNeighbors):
        asked = []

        def kneighbors(self, X, n_neighbors):
            self.asked.append(n_neighbors)
            return super().kneighbors(X, n_neighbors)

    GraphPropagationSelector(n_neighbors=4, neighbor_index=Recorder()).select(*problem(5, 3))
    assert Recorder.asked == [5]  # the row itself and four others


def test_propagation_reaches_rows_over_others():
    # A chain at 20 degrees a step, labelled at its ends; from the fourth row on, the far end is nearer along the chain.
    angle = np.deg2rad(20.0 * np.arange(9))
    embeddings = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    y = np.array([0, *[-1] * 7, 1])
    proba = np.full((9, 2), 0.5, dtype=np.float32)
    labels, weights, _ = GraphPropagationSelector(n_neighbors=2).select(embeddings, y, proba)
    np.testing.assert_array_equal(labels[:4], 0)
    np.testing.assert_array_equal(labels[5:], 1)
    assert weights[4] < 1e-5
    assert (np.diff(weights[:5]) < 0).all()


def test_propagation_does_not_cross_to_the_other_side_of_the_sphere():
    embeddings = np.array([[1, 0], [0.9, 0.1], [-1, 0], [-0.9, 0.1]], dtype=np.float32)
    proba = np.array([[0.5, 0.5], [0.45, 0.55], [0.5, 0.5], [0.6, 0.4]], dtype=np.float32)
    labels, *_ = GraphPropagationSelector(n_neighbors=3).select(embeddings, np.array([0, -1, 1, -1]), proba)
    np.testing.assert_array_equal(labels, [0, 0, 1, 1])


# -- all


@by_neighbors
@pytest.mark.parametrize(("n_frequent", "n_rare"), [(9, 1), (60, 2)])
def test_a_class_does_not_win_by_its_number_of_labels(selector, n_frequent, n_rare):
    # Two mirrored groups of equal size, of which one is nearly all labelled and the other hardly. On the mirror lies a
    # row that the network takes, by a little, for one of the rare class.
    rng = np.random.default_rng(0)
    group = np.c_[np.full(80, 1.0), 0.05 * rng.normal(size=(80, 3))]
    mirrored = group[:, [1, 0, 2, 3]]
    middle = np.array([[1.0, 1.0, 0.0, 0.0]])
    embeddings = np.concatenate([group, mirrored, middle])
    embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    y = np.full(161, -1)
    y[:n_frequent], y[80 : 80 + n_rare] = 0, 1
    proba = np.full((161, 2), 0.5, dtype=np.float32)
    proba[-1] = 0.35, 0.65
    labels, *_ = clone(selector).set_params(n_neighbors=160).select(embeddings, y, proba)
    np.testing.assert_array_equal(labels, np.repeat([0, 1], [80, 81]))


@every
@problems
def test_labels_and_weights_are_in_range_and_arguments_stay(selector, arguments):
    given = [part.copy() for part in arguments]
    for part in given:
        part.flags.writeable = False
    labels, weights, _ = selector.select(*given)
    n_samples, n_classes = arguments[2].shape
    assert labels.shape == weights.shape == (n_samples,)
    assert labels.dtype.kind == "i"
    assert labels.min() >= 0
    assert labels.max() < n_classes
    assert weights.min() >= 0
    assert weights.max() <= 1
    for part, before in zip(given, arguments, strict=True):
        np.testing.assert_array_equal(part, before)


@every
def test_answers_repeat_and_draw_from_no_global_generator(selector):
    arguments = problem(60, 8, 2)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (clone(selector).select(*arguments) for _ in range(2))
    np.testing.assert_equal(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@by_neighbors
def test_length_of_embeddings_does_not_count(selector):
    embeddings, y, proba = problem(25, 8, 2)
    lengths = np.random.default_rng(0).uniform(0.1, 10, size=(len(y), 1)).astype(np.float32)
    assert_answers(selector.select(lengths * embeddings, y, proba), selector.select(embeddings, y, proba))


@every
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_rows_that_are_all_the_same_are_left_to_the_network(selector, value):
    _, y, proba = problem(9, 3, 1)
    if hasattr(selector, "n_neighbors"):
        selector = clone(selector).set_params(n_neighbors=len(y))  # with fewer, it is chance which rows are joined
    labels, weights, _ = selector.select(np.full((len(y), 6), value, dtype=np.float32), y, proba)
    unlabeled = y < 0
    second, first = np.sort(proba[unlabeled], axis=1)[:, -2:].T
    np.testing.assert_array_equal(labels[unlabeled], proba[unlabeled].argmax(axis=1))
    np.testing.assert_allclose(weights[unlabeled], first - second, atol=0.02)


@every
def test_a_zero_embedding_among_others(selector):
    embeddings, y, proba = problem(9, 3, 2)
    embeddings[[0, 10, 20]] = 0
    labels, weights, _ = selector.select(embeddings, y, proba)
    assert np.isfinite(weights).all()
    assert set(labels) <= {0, 1, 2}


def test_labels_do_not_spread_through_a_zero_embedding():
    graph = neighbor_graph(np.array([[1, 0], [0, 0], [0, 1], [-1, 0]], dtype=np.float32), 2).toarray()
    assert not graph[1].any()
    assert not graph[:, 1].any()


@by_neighbors
def test_certain_probabilities_decide(selector):
    embeddings, y, proba = problem(9, 3, 2)
    certain = np.eye(3, dtype=np.float32)[proba.argmin(axis=1)]
    labels, weights, _ = selector.select(embeddings, y, certain)
    np.testing.assert_array_equal(labels, certain.argmax(axis=1))
    np.testing.assert_allclose(weights, 1)


@by_neighbors
def test_where_the_network_is_undecided_the_neighbours_decide(selector):
    embeddings, y, proba = problem(25, 8, 3, spread=0.05)
    labels, weights, _ = selector.select(embeddings, y, np.full_like(proba, 1 / 3))
    np.testing.assert_array_equal(labels, embeddings[:, :3].argmax(axis=1))
    assert weights.min() > 0.5


@by_neighbors
def test_number_of_neighbors_changes_the_weights(selector):
    arguments = problem(25, 8, 2)
    few, many = (clone(selector).set_params(n_neighbors=k).select(*arguments).weights for k in (1, 8))
    assert np.abs(few - many).max() > 0.05


def test_confidence_is_the_lead_of_the_largest_probability():
    proba = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0, 0, 1]], dtype=np.float32)
    labels, weights, posterior = ConfidenceSelector().select(np.zeros((3, 2), np.float32), np.array([0, 1, 2]), proba)
    np.testing.assert_array_equal(labels, [0, 2, 2])
    np.testing.assert_allclose(weights, [0.5, 0.1, 1.0], atol=1e-6)
    np.testing.assert_allclose(posterior, proba, atol=1e-6)


@every
def test_selector_is_a_part_like_those_of_scikit_learn(selector):
    assert isinstance(selector, Selector)
    assert clone(selector).get_params() == selector.get_params()


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        (
            GraphPropagationSelector(n_neighbors=0),
            r"'n_neighbors' parameter of GraphPropagationSelector must be an int",
        ),
        (GraphPropagationSelector(n_neighbors=2.5), r"must be an int in the range \[1, inf\). Got 2.5 instead"),
        (GraphPropagationSelector(alpha=1.0), r"'alpha' .* must be a float in the range \[0.0, 1.0\). Got 1.0 instead"),
        (GraphPropagationSelector(alpha=-0.1), "'alpha' parameter of GraphPropagationSelector must be"),
        (GraphPropagationSelector(n_iter=-1), r"'n_iter' .* must be an int in the range \[0, inf\). Got -1 instead"),
        (GraphPropagationSelector(trust=1.5), r"'trust' .* must be a float in the range \[0.0, 1.0\]. Got 1.5 instead"),
        (
            NearestNeighborSelector(n_neighbors="all"),
            "'n_neighbors' parameter of NearestNeighborSelector must be an int",
        ),
        (
            NearestNeighborSelector(n_clusters=0),
            r"'n_clusters' .* must be an int in the range \[1, inf\). Got 0 instead",
        ),
        (NearestNeighborSelector(temperature=0), r"'temperature' .* float in the range \(0.0, inf\). Got 0 instead"),
    ],
)
def test_parameters_out_of_range_are_named(selector, message):
    with pytest.raises(ValueError, match=message):
        selector.select(*problem(3, 3))


def test_rows_of_unit_length_are_not_copied():
    rows = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    rows[3] = 0
    unit = unit_rows(rows)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), np.arange(50) != 3, rtol=1e-6)
    np.testing.assert_allclose(unit * np.linalg.norm(rows, axis=1, keepdims=True), rows, rtol=1e-5)
    some = unit[4:]
    assert unit_rows(some) is some
    assert unit_rows(unit) is not unit  # the zero row has to be seen to
    assert unit_rows(unit[4:].astype(np.float64)).dtype == np.float32
