"""Progress: scikit-learn's callbacks, the printed lines, and fits that do not reach their end."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skdmlpl import DMLPseudoLabelClassifier, _progress
from skdmlpl.augmentations import FeatureCorruption
from skdmlpl.model_selection import LabeledStratifiedKFold
from skdmlpl.selectors import ConfidenceSelector

N_CLASSES, N_FEATURES = 3, 4
Y = np.arange(90) % N_CLASSES
X = np.random.default_rng(0).normal(size=(90, N_FEATURES)) + 2 * np.eye(N_CLASSES, N_FEATURES)[Y]
Y_PARTLY = np.where(np.arange(90) < 30, Y, -1)


def small_backbone(input_shape):
    return nn.Sequential(nn.Linear(N_FEATURES, 8), nn.ReLU())


def classifier(**params):
    defaults = {"backbone": small_backbone, "n_steps": 5, "max_rounds": 2, "random_state": 0, "device": "cpu"}
    return DMLPseudoLabelClassifier(**(defaults | params))


class Recorder:
    """A callback that keeps what it is told, and asks to stop after one of the rounds."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.events, self.data, self.fitted = [], [], []

    def setup(self, estimator, context):
        self.events.append(("setup", context.task_name, context.max_subtasks))

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.events.append(("end", context.task_name, context.task_id))
        self.data.append((X, y, metadata))
        self.fitted.append(fitted_estimator)
        return context.task_name == "round" and context.task_id == self.stop_after

    def teardown(self, estimator, context):
        self.events.append(("teardown", context.task_name, context.max_subtasks))


@pytest.fixture(scope="module")
def plain():
    return classifier().fit(X, Y_PARTLY)


@pytest.fixture(scope="module")
def recorded():
    recorder = Recorder()
    return recorder, classifier().set_callbacks(recorder).fit(X, Y_PARTLY)


# ----------------------------------------------------------------------------------------------------------- callbacks


def test_every_round_is_a_task(recorded):
    rounds = [(event, "round", number) for number in range(3) for event in ("begin", "end")]
    whole = [("setup", "fit", 3), ("begin", "fit", 0), *rounds, ("end", "fit", 0), ("teardown", "fit", 3)]
    assert recorded[0].events == whole


def test_callbacks_change_no_result(recorded, plain):
    np.testing.assert_array_equal(recorded[1].predict_proba(X), plain.predict_proba(X))
    np.testing.assert_array_equal(recorded[1].transduction_, plain.transduction_)


def test_callbacks_are_given_the_rows_that_have_an_answer(recorded):
    for rows, labels, metadata in recorded[0].data:
        np.testing.assert_array_equal(rows, X[:30])
        np.testing.assert_array_equal(labels, Y[:30])
        assert metadata is None


def test_callbacks_are_given_the_callers_labels_and_containers():
    recorder = Recorder()
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(90) + 7)
    names = np.array(["x", "y", "z"], dtype=object)[Y]
    names[::2] = None
    classifier(max_rounds=0).set_callbacks(recorder).fit(frame, names)
    (rows, labels, _), _ = recorder.data
    pd.testing.assert_frame_equal(rows, frame[1::2])
    np.testing.assert_array_equal(labels, names[1::2])
    assert recorder.fitted[0].predict(frame).tolist() == recorder.fitted[1].predict(frame).tolist()


def test_callbacks_can_predict_after_every_round_as_if_it_was_the_last(recorded):
    """The schedule of a fit depends on the number of its rounds, so the same fit is stopped and compared."""
    recorder, model = recorded
    for number, fitted in enumerate(recorder.fitted[:3]):
        stopped = classifier().set_callbacks(Recorder(stop_after=number)).fit(X, Y_PARTLY)
        np.testing.assert_array_equal(fitted.predict_proba(X), stopped.predict_proba(X))
        assert fitted.network_ is not model.network_
    assert not np.array_equal(recorder.fitted[0].predict_proba(X), recorder.fitted[2].predict_proba(X))
    np.testing.assert_array_equal(recorder.fitted[2].predict_proba(X), model.predict_proba(X))


def test_a_callback_can_stop_the_rounds():
    model = classifier().set_callbacks(Recorder(stop_after=1)).fit(X, Y_PARTLY)
    assert model.n_rounds_ == 1
    assert len(model.history_) == 2
    assert model.termination_condition_ == "callback"
    assert 0 < (model.labeled_iter_ == -1).sum() < 60


def test_a_stop_after_the_last_round_changes_nothing(plain):
    model = classifier().set_callbacks(Recorder(stop_after=2)).fit(X, Y_PARTLY)
    assert model.termination_condition_ == plain.termination_condition_ == "all_labeled"
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))


def test_without_unlabelled_rows_there_is_one_round():
    recorder = Recorder()
    classifier().set_callbacks(recorder).fit(X, Y)
    assert recorder.events[0] == ("setup", "fit", 1)
    assert len(recorder.events) == 6


def test_scores_of_every_round():
    monitor = ScoringMonitor(scoring={"of labelled": "balanced_accuracy", "of all": lambda e, *_: e.score(X, Y)})
    model = classifier(n_steps=50).set_callbacks(monitor).fit(X, Y_PARTLY)
    log = pd.DataFrame(monitor.get_logs().data).set_index("task_name")
    assert log.loc["round", "task_id"].tolist() == [0, 1, 2]
    assert log.loc["fit", "of all"] == model.score(X, Y)
    assert log.loc["fit", "of labelled"] == balanced_accuracy_score(Y[:30], model.predict(X[:30]))
    assert log["of all"].between(0, 1).all()


def test_a_progress_bar_inside_a_search(capsys):
    model = make_pipeline(StandardScaler(), classifier())
    grid = {"dmlpseudolabelclassifier__margin": [0.1, 0.2]}
    search = GridSearchCV(model, grid, cv=LabeledStratifiedKFold(2), error_score="raise")
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, Y_PARTLY)
    out = capsys.readouterr().out
    assert out.count("DMLPseudoLabel") == 5  # four fits of the search and the final one
    assert not hasattr(search.best_estimator_[-1], "_skl_callbacks")


@pytest.mark.parametrize("verbose", [0, 1])
def test_printed_lines(verbose, capsys):
    classifier(verbose=verbose, metric_weight=0.0).fit(X, Y_PARTLY)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 * verbose
    if verbose:
        assert lines[0].startswith("[DMLPseudoLabelClassifier] round 0 of 2: 0 of 60 rows pseudo-labelled, classific")
        assert lines[2].startswith("[DMLPseudoLabelClassifier] round 2 of 2: 60 of 60 rows pseudo-labelled, mean weigh")
        assert "nan" not in "".join(lines)  # neither a mean of no weights nor a loss that was left out
        assert all(line.endswith(" s") for line in lines)


def test_long_rounds_say_how_far_they_are(capsys, monkeypatch):
    seconds = iter(range(10_000))
    monkeypatch.setattr(_progress, "perf_counter", lambda: 7 * next(seconds))  # at each step once
    classifier(verbose=1, n_steps=12, max_rounds=0).fit(X, Y)
    steps, round_0 = capsys.readouterr().out.splitlines()[:-1], "[DMLPseudoLabelClassifier] step {} of 12 in this round"
    assert steps == [round_0.format(6), round_0.format(11)]
    classifier(n_steps=12).fit(X, Y_PARTLY)
    assert capsys.readouterr().out == ""


def test_what_held_out_rows_chose_is_printed(capsys):
    small = DMLPseudoLabelClassifier(max_rounds=0, random_state=0, verbose=1).fit(X[:30], Y[:30])
    first, second = capsys.readouterr().out.splitlines()
    chosen = f"n_steps={small.n_steps_}, learning_rate={small.learning_rate_:g}, weight_decay={small.weight_decay_:g}"
    assert first == f"[DMLPseudoLabelClassifier] small table: {chosen}"
    assert "round 0 of 0" in second
    DMLPseudoLabelClassifier(max_rounds=0, random_state=0).fit(X[:30], Y[:30])
    assert capsys.readouterr().out == ""


def test_printed_lines_count_the_rounds_there_are(capsys):
    classifier(verbose=1).fit(X, Y)
    assert "round 0 of 0: 0 of 0 rows" in capsys.readouterr().out


# --------------------------------------------------------------------------------------------------------- interruption


def interrupt(*_, **__):
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


class Interrupting:
    def __init__(self, hook):
        self.hook = hook

    def __getattr__(self, name):
        if name in ("setup", "teardown", "on_fit_task_begin", "on_fit_task_end"):
            return interrupt if name == self.hook else lambda *_, **__: None
        raise AttributeError(name)


class InterruptedSelector(ConfidenceSelector):
    def select(self, embeddings, y, proba):
        interrupt()


def interrupted_loss(embeddings, labels):
    interrupt()


def interrupted_backbone(input_shape):
    torch.rand(3)
    interrupt()


class InterruptedForward(nn.Linear):
    def forward(self, batch):
        if len(batch) > 2:
            interrupt()
        return super().forward(batch)


INTERRUPTED = {
    "building the network": {"backbone": interrupted_backbone},
    "looking at all rows": {"backbone": InterruptedForward(N_FEATURES, 8)},
    "an augmentation": {"augmentation": interrupt},
    "a gradient step": {"metric_loss": interrupted_loss},
    "a selector": {"selector": InterruptedSelector()},
}


def state_of_torch():
    return (
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        (torch.tensor([1e-40]) * 1).item() == 0,
        torch.get_num_threads(),
    )


def fitted_attributes(model):
    return {name for name in vars(model) if name.endswith("_")}


@pytest.mark.parametrize("was_fitted", [False, True])
@pytest.mark.parametrize("params", INTERRUPTED.values(), ids=INTERRUPTED)
def test_an_interrupted_fit_leaves_no_trace(params, was_fitted):
    model = classifier()
    if was_fitted:
        model.fit(X, Y_PARTLY)
    model.set_params(**params)
    with torch.no_grad():
        before = state_of_torch()
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, Y_PARTLY)
        assert state_of_torch() == before
    assert fitted_attributes(model) == set()
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.parametrize("hook", ["setup", "on_fit_task_begin", "on_fit_task_end", "teardown"])
def test_an_interrupted_callback(hook):
    model = classifier(max_rounds=1).set_callbacks(Interrupting(hook))
    before = state_of_torch()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y_PARTLY)
    assert state_of_torch() == before
    assert (fitted_attributes(model) == set()) == (hook != "teardown")  # which comes when the fit is complete


@pytest.mark.parametrize(
    ("rows", "labels"), [(X[:, :0], Y_PARTLY), (X, Y[:3]), (X, None), (X[0], Y)], ids=["columns", "y", "no y", "a row"]
)
def test_refused_data_leave_no_mix_either(rows, labels):
    model = classifier().fit(X, Y_PARTLY)
    with pytest.raises(ValueError):
        model.fit(rows, labels)
    assert fitted_attributes(model) == set()


def test_after_an_interruption_a_fit_is_as_any_other(plain):
    model = classifier(augmentation=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y_PARTLY)
    model.set_params(augmentation=FeatureCorruption()).fit(X, Y_PARTLY)
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
