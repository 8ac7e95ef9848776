"""What the functions say of a fit, against plain recomputation, and whether their advice is any good."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.inspection import explain_labels, history_frame, suggest_rows
from skdmlpl.interfaces import PseudoLabels

N_FEATURES = 6
N_LABELED, N_UNLABELED = 44, 300
NAMES = np.array(["common", "rare", "uncommon"])


def small_backbone(input_shape):
    return nn.Sequential(nn.Linear(N_FEATURES, 16), nn.ReLU())


def classifier(**params):
    training = {"n_steps": 40, "learning_rate": 0.02, "max_rounds": 2, "random_state": 0, "device": "cpu"}
    return DMLPseudoLabelClassifier(**({"backbone": small_backbone} | training | params))


def long_tail(sizes, seed, spread=1.0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    corners = 2.5 * np.eye(len(sizes), N_FEATURES)
    return (corners[y] + spread * rng.normal(size=(len(y), N_FEATURES))).astype(np.float32), y


X, Y = long_tail([30, 4, 10], seed=0)
U, U_TRUTH = long_tail([200, 30, 70], seed=1)


@pytest.fixture(scope="module")
def fitted():
    return classifier().fit(X, NAMES[Y], U)


@pytest.fixture(scope="module")
def report(fitted):
    return explain_labels(fitted, X, U, rows=np.arange(N_LABELED + N_UNLABELED), n_neighbors=3, n_voters=4)


# ------------------------------------------------------------------------------------------------------------- history


def test_history_by_round(fitted):
    frame = history_frame(fitted)
    assert frame.index.tolist() == [0, 1, 2]
    assert frame.index.name == "round"
    assert frame["n_pseudo_labeled"].tolist() == [r.n_pseudo_labeled for r in fitted.history_]
    assert frame["coverage"].tolist() == [0, frame.loc[1, "n_pseudo_labeled"] / N_UNLABELED, 1]
    assert np.isnan(frame.loc[0, "mean_weight"])
    for column in ("classification_loss", "metric_loss", "seconds"):
        assert frame[column].tolist() == [getattr(r, column) for r in fitted.history_]


def test_history_by_class(fitted):
    frame = history_frame(fitted, by_class=True)
    assert frame.index.names == ["round", "class"]
    assert frame.index.tolist() == [(number, name) for number in range(3) for name in NAMES]
    labels, weights, _ = fitted.history_[2].pseudo_labels
    for code, name in enumerate(NAMES):
        assert frame.loc[(2, name), "n_pseudo_labeled"] == (labels == code).sum()
        assert frame.loc[(2, name), "mean_weight"] == pytest.approx(weights[labels == code].mean())
        assert frame.loc[(2, name), "prior"] == fitted.history_[2].prior[code]
    assert frame.loc[0, "mean_weight"].isna().all()


def test_history_without_unlabelled_rows():
    frame = history_frame(classifier(n_steps=2).fit(X, Y))
    assert frame["n_pseudo_labeled"].tolist() == [0]
    assert frame["coverage"].isna().all()


# -------------------------------------------------------------------------------------------------------------- labels


def test_what_a_report_repeats_of_the_fit(report, fitted):
    np.testing.assert_array_equal(report.labels, fitted.transduction_)
    np.testing.assert_array_equal(report.rounds, fitted.labeled_iter_)
    np.testing.assert_array_equal(report.reliability[:N_LABELED], 1)
    np.testing.assert_array_equal(report.reliability[N_LABELED:], fitted.history_[-1].pseudo_labels.weights)


def test_votes_agree_with_loops_over_the_definition(report, fitted):
    embeddings = fitted.transform(np.concatenate([X, U])).astype(np.float64)
    for row in [0, 1, 7, N_LABELED, N_LABELED + 5, N_LABELED + 299]:
        shares = {}
        for c in range(3):
            others = [j for j in range(N_LABELED) if Y[j] == c and j != row]
            cosines = {j: float(embeddings[row] @ embeddings[j]) for j in others}
            nearest = sorted(others, key=cosines.get, reverse=True)[:3]
            shares |= {j: np.exp(cosines[j] / 0.1) / len(nearest) for j in nearest}
        total = sum(shares.values())
        expected = [sum(s for j, s in shares.items() if Y[j] == c) / total for c in range(3)]
        np.testing.assert_allclose(report.votes[row], expected, rtol=1e-3, atol=1e-5)
        order = sorted(shares, key=shares.get, reverse=True)[:4]
        assert report.voters[row].tolist() == order
        np.testing.assert_allclose(report.voter_shares[row], [shares[j] / total for j in order], rtol=1e-3)
        assert report.voter_labels[row].tolist() == NAMES[Y[order]].tolist()


def test_votes_are_in_blocks_of_any_size(report, fitted, monkeypatch):
    monkeypatch.setattr("skdmlpl.inspection._labels._BLOCK", 100)
    again = explain_labels(fitted, X, U, rows=report.rows, n_neighbors=3, n_voters=4)
    np.testing.assert_array_equal(again.voters, report.voters)
    np.testing.assert_allclose(again.votes, report.votes, rtol=1e-5)


def test_votes_speak_for_the_labels(report):
    """In sum: a label is made in an earlier embedding, and with the network's consent."""
    agreed = NAMES[report.votes[N_LABELED:].argmax(axis=1)] == report.labels[N_LABELED:]
    assert agreed.mean() > 0.9
    assert report.reliability[N_LABELED:][agreed].mean() > report.reliability[N_LABELED:][~agreed].mean()


def test_a_wrong_given_label_gets_few_votes():
    wrong = Y.copy()
    row = np.flatnonzero(Y == 0)[3]
    wrong[row] = 2
    model = classifier().fit(X, wrong, U)
    report = explain_labels(model, X, U, rows=np.arange(N_LABELED))
    own_share = report.votes[np.arange(N_LABELED), wrong]
    assert own_share[row] < np.quantile(own_share, 0.1)


def test_rows_may_be_one_some_or_all_unlabelled(report, fitted):
    one = explain_labels(fitted, X, U, rows=50, n_neighbors=3, n_voters=4)
    assert one.rows.tolist() == [50]
    np.testing.assert_array_equal(one.voters, report.voters[[50]])
    some = explain_labels(fitted, X, U, rows=[99, 3, 99], n_neighbors=3, n_voters=4)
    np.testing.assert_array_equal(some.voters, report.voters[[99, 3, 99]])
    unlabeled = explain_labels(fitted, X, U, n_neighbors=3, n_voters=4)
    np.testing.assert_array_equal(unlabeled.voters, report.voters[N_LABELED:])


def test_unlabelled_rows_may_have_come_in_X(report):
    rows, marked = np.concatenate([U[:9], X, U[9:]]), np.r_[np.full(9, -1), Y, np.full(291, -1)]
    model = classifier().fit(rows, marked)
    again = explain_labels(model, rows, n_neighbors=3, n_voters=4)
    np.testing.assert_array_equal(again.rows, np.r_[:9, 53:344])
    assert set(again.voters.ravel()) <= set(range(9, 53))
    assert set(suggest_rows(model, rows).rows) <= set(again.rows)


def test_places_without_a_voter():
    """Two classes of a row each: a labelled row has one voter, an unlabelled one two."""
    model = classifier(n_steps=2).fit(X[:2], [0, 1], U[:3])
    report = explain_labels(model, X[:2], U[:3], rows=np.arange(5))
    assert report.voters[:2].tolist() == [[1, -1], [0, -1]]
    assert (report.voters[2:] >= 0).all()
    np.testing.assert_array_equal(report.votes[:2], [[0, 1], [1, 0]])
    assert len(report.to_frame()) == 2 + 3 * 2


def test_rows_without_a_label():
    model = classifier(max_rounds=0).fit(X, NAMES[Y], U)
    report = explain_labels(model, X, U, rows=[0, 60])
    assert report.labels.tolist() == [NAMES[Y[0]], None]
    assert report.rounds.tolist() == [0, -1]
    np.testing.assert_array_equal(report.reliability, [1, np.nan])
    np.testing.assert_allclose(report.votes.sum(axis=1), 1, rtol=1e-5)


def test_report_as_a_frame(report):
    frame = report.to_frame()
    assert len(frame) == report.voters.size
    line = frame[frame["row"] == 60].iloc[1]
    assert line["label"] == report.labels[60]
    assert line["reliability"] == report.reliability[60]
    assert (line["voter"], line["voter_label"]) == (report.voters[60, 1], report.voter_labels[60, 1])
    assert line["voter_share"] == report.voter_shares[60, 1]


def test_frames_and_images_are_rows_too():
    names = list("abcdef")
    frame = pd.DataFrame(X, columns=names)
    model = classifier(n_steps=2).fit(frame, Y, pd.DataFrame(U, columns=names))
    assert len(explain_labels(model, frame, pd.DataFrame(U, columns=names)).rows) == N_UNLABELED

    images = np.random.default_rng(0).integers(0, 256, (30, 1, 4, 4)).astype(np.uint8)
    model = classifier(n_steps=2, backbone=lambda shape: nn.Flatten()).fit(images[:6], [0, 1, 2] * 2, images[6:])
    assert explain_labels(model, images[:6], images[6:], rows=[7, 20]).votes.shape == (2, 3)


# ------------------------------------------------------------------------------------------------------- rows to label


def test_suggested_rows_are_enriched_in_errors_and_in_rare_classes():
    """Ten rows of each of three sets, against what as many random ones would hold."""
    wrong, rare, suggested = [], [], []
    for seed in range(3):
        X, y = long_tail([60, 20, 8, 3, 2], seed=seed)
        U, truth = long_tail([150, 60, 30, 20, 15], seed=seed + 100)
        model = classifier().fit(X, y, U)
        wrong.append(model.transduction_[len(X) :] != truth)
        rare.append(truth > 1)
        suggested.append(np.isin(np.arange(len(U)), suggest_rows(model, X, U).rows - len(X)))
    wrong, rare, suggested = (np.concatenate(parts) for parts in (wrong, rare, suggested))
    assert suggested.sum() == 30
    assert wrong[suggested].mean() > 2 * wrong.mean()
    assert rare[suggested].mean() > 1.2 * rare.mean()


def test_suggestions_agree_with_loops_over_the_definition(fitted):
    embeddings = fitted.transform(U).astype(np.float64)
    labels, weights, _ = fitted.history_[-1].pseudo_labels
    cosines = embeddings @ embeddings.T
    likeness = np.zeros((N_UNLABELED, N_UNLABELED))  # [i, j]: of j to i, where i is a neighbour of j
    for j in range(N_UNLABELED):
        for i in [i for i in np.argsort(-cosines[j], kind="stable") if i != j][:4]:
            likeness[i, j] = max(0, cosines[i, j]) ** 3
    sizes = np.bincount(labels)[labels]
    doubt, chosen = 1 - weights, []
    for _ in range(6):
        worth = [doubt[i] / sizes[i] * (1 + likeness[i].sum() / 4) for i in range(N_UNLABELED)]
        chosen.append(max((i for i in range(N_UNLABELED) if i not in chosen), key=worth.__getitem__))
        doubt = doubt * (1 - np.maximum(likeness[chosen[-1]], likeness[:, chosen[-1]]))
    suggested = suggest_rows(fitted, X, U, n_rows=6, n_neighbors=4)
    assert (suggested.rows - N_LABELED).tolist() == chosen
    np.testing.assert_array_equal(suggested.labels, NAMES[labels[chosen]])
    np.testing.assert_array_equal(suggested.reliability, weights[chosen])
    np.testing.assert_allclose(suggested.influence, likeness.sum(axis=1)[chosen], rtol=1e-4)


def test_suggestions_do_not_all_lie_in_one_place():
    """Twenty copies of one doubtful row are settled by one label."""
    copies = np.repeat(U[:1], 20, axis=0)
    model = classifier().fit(X, Y, np.concatenate([copies, U[1:100]]))
    rows = suggest_rows(model, X, np.concatenate([copies, U[1:100]]), n_neighbors=30).rows - N_LABELED
    assert (rows < 20).sum() <= 1


@pytest.mark.parametrize("n_rows", [1, 299, 300, 5000])
def test_any_number_of_rows(fitted, n_rows):
    suggested = suggest_rows(fitted, X, U, n_rows=n_rows)
    assert len(set(suggested.rows)) == len(suggested.rows) == min(n_rows, N_UNLABELED)
    assert len(suggested.to_frame()) == len(suggested.rows)


def test_suggestions_where_rows_have_no_label():
    """The network's own label and its lead stand in."""
    model = classifier(max_rounds=0).fit(X, Y, U)
    suggested = suggest_rows(model, X, U)
    proba = np.sort(model.label_distributions_[suggested.rows], axis=1)
    np.testing.assert_allclose(suggested.reliability, proba[:, -1] - proba[:, -2])
    np.testing.assert_array_equal(suggested.labels, model.label_distributions_[suggested.rows].argmax(axis=1))
    assert suggested.reliability.mean() < 0.8


def test_a_selector_may_leave_rows_out():
    def half(embeddings, y, proba):
        return PseudoLabels(np.where(np.arange(len(y)) % 2, proba.argmax(axis=1), -1), np.full(len(y), 0.5))

    model = classifier(selector=half).fit(X, Y, U)
    assert np.isnan(explain_labels(model, X, U).reliability).sum() == 150
    assert np.isfinite(suggest_rows(model, X, U, n_rows=300).reliability).all()


def test_frames_of_suggestions(fitted):
    suggested = suggest_rows(fitted, X, U, n_rows=3)
    frame = suggested.to_frame()
    assert frame.columns.tolist() == ["row", "label", "reliability", "influence"]
    assert frame["row"].tolist() == suggested.rows.tolist()


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("function", [explain_labels, suggest_rows])
def test_other_rows_are_noticed(fitted, function):
    with pytest.raises(ValueError, match=r"the 344 rows given to fit\. Got 44 rows"):
        function(fitted, X)
    with pytest.raises(ValueError, match=r"rows given to fit, in the same order\. Row \d+ is not"):
        function(fitted, X, U[::-1])
    with pytest.raises(ValueError, match=r"rows given to fit, in the same order\. Row \d+ is not"):
        function(fitted, X[::-1], U)
    with pytest.raises(ValueError, match=r"features"):
        function(fitted, X[:, :3], U[:, :3])


@pytest.mark.parametrize("function", [explain_labels, suggest_rows, lambda model, *_: history_frame(model)])
def test_a_fit_is_needed(fitted, function):
    with pytest.raises(NotFittedError):
        function(clone(fitted), X, U)


@pytest.mark.parametrize("rows", [-1, 344, [1.0], ["a"], [[1]], [True]], ids=repr)
def test_row_numbers_are_checked(fitted, rows):
    with pytest.raises(ValueError, match=r"'rows' parameter of explain_labels must hold row numbers from 0 to 343"):
        explain_labels(fitted, X, U, rows=rows)


@pytest.mark.parametrize("rows", [[], np.flatnonzero(Y == 99)], ids=["list", "array"])
def test_no_rows_make_an_empty_report(fitted, rows):
    report = explain_labels(fitted, X, U, rows=rows)
    assert len(report.to_frame()) == len(report.labels) == 0
    assert report.votes.shape == (0, len(fitted.classes_))


def test_a_search_is_not_the_estimator_it_found(fitted):
    search = GridSearchCV(fitted, {"margin": [0.1]}, cv=2).fit(X, Y)
    with pytest.raises(TypeError, match=r"Got GridSearchCV, which has no .*\. Give its best_estimator_\."):
        explain_labels(search, X)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, None])
def test_numbers_are_checked(fitted, value):
    for function, name in [
        (explain_labels, "n_neighbors"),
        (explain_labels, "n_voters"),
        (suggest_rows, "n_neighbors"),
        (suggest_rows, "n_rows"),
    ]:
        with pytest.raises(ValueError, match=rf"The '{name}' parameter of {function.__name__} must be an int"):
            function(fitted, X, U, **{name: value})


def test_suggestions_need_unlabelled_rows():
    model = classifier(n_steps=2).fit(X, Y)
    with pytest.raises(ValueError, match="suggest_rows needs unlabelled rows"):
        suggest_rows(model, X)
    assert explain_labels(model, X, rows=[3]).rounds.tolist() == [0]
    with pytest.raises(ValueError, match=r"rows given to fit, in the same order"):
        explain_labels(model, X[::-1], rows=[3])


# ----------------------------------------------------------------------------------------------------------- pipelines


@pytest.mark.parametrize("steps", [0, 1])
def test_a_pipeline_stands_for_its_last_step(steps):
    everything = np.concatenate([X, U])
    marked = np.concatenate([Y, np.full(N_UNLABELED, -1)])
    scalers = [StandardScaler() for _ in range(steps)]
    pipeline = make_pipeline(*scalers, classifier(n_steps=5)).fit(everything, marked)
    seen_by_classifier = StandardScaler().fit_transform(everything) if steps else everything
    for function in (explain_labels, suggest_rows):
        found, expected = function(pipeline, everything), function(pipeline[-1], seen_by_classifier)
        for name, values in vars(expected).items():
            np.testing.assert_array_equal(getattr(found, name), values)
    pd.testing.assert_frame_equal(history_frame(pipeline), history_frame(pipeline[-1]))


def test_estimators_without_a_record_are_refused():
    other = LogisticRegression().fit(X, Y)
    for call in (history_frame, lambda model: explain_labels(model, X), lambda model: suggest_rows(model, X)):
        with pytest.raises(TypeError, match=r"needs an estimator with history_, .* Got LogisticRegression"):
            call(other)
