"""The benchmark on images: what is counted, what the baselines learn, and what the tables say."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import images as benchmark
from benchmarks.image_baselines import FixMatch, LabelledOnly
from benchmarks.image_data import ImageProblem, Split, fake, split_of
from benchmarks.image_speed import BareLoop
from benchmarks.images import METHODS, Method, cost, dry_run, plot, run, set_up, table, update
from benchmarks.watch import Watch, WeightTrail
from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl._network import build_network

ENVIRONMENT = {"commit": "abc", "threads": 1}


def tiny(input_shape):
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.fixture
def problem():
    """Three classes of one colour each, under noise; 24, 12 and 4 labelled images of 40."""
    rng = np.random.default_rng(0)

    def draw(classes):
        X = rng.integers(128, size=(len(classes), 3, 8, 8))
        X[np.arange(len(classes)), classes] += 100
        return X.astype(np.uint8)

    y = np.repeat([0, 1, 2], [24, 12, 4])
    y_unlabeled, y_test = rng.integers(3, size=40), np.arange(30) % 3
    X = draw(np.concatenate([y, y_unlabeled]))
    return ImageProblem(X, np.concatenate([y, np.full(40, -1)]), y_unlabeled, draw(y_test), y_test)


def test_a_watch_counts_images_and_steps():
    network = build_network(tiny, torch.zeros(2, 3, 8, 8), n_classes=3, mirror=True).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def step(n):
        network(torch.rand(n, 3, 8, 8))[1].sum().backward()
        optimizer.step()

    step(2)
    with Watch() as watch:
        step(5)
        network.head(torch.rand(7, 4))  # a part of the network, but not one that sees images
        step(4)
        with watch.paused():
            step(3)
        with torch.inference_mode():
            network(torch.rand(6, 3, 8, 8))
            network.eval()(torch.rand(3, 3, 8, 8))  # from both sides
    step(2)
    assert (watch.trained, watch.only_seen, watch.n_steps) == (9, 12, 2)
    assert watch.passes == 13


def test_a_trail_holds_the_last_means_of_the_weights():
    network = build_network(tiny, torch.zeros(2, 3, 8, 8), n_classes=3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    path = []
    with WeightTrail(every=3, n_last=2, decay=0.5) as trail:
        for _ in range(10):
            optimizer.zero_grad()
            network(torch.rand(4, 3, 8, 8))[1][:, 0].sum().backward()
            optimizer.step()
            path.append({name: value.clone() for name, value in network.state_dict().items()})
    for kept, steps in zip(trail.networks, (6, 9), strict=True):
        for name in ("head.bias", "backbone.0.weight", "backbone.1.running_mean"):
            mean = path[0][name]
            for state in path[1:steps]:
                mean = 0.5 * mean + 0.5 * state[name]
            torch.testing.assert_close(kept.state_dict()[name], mean, msg=name)


@pytest.mark.parametrize("make", [LabelledOnly, FixMatch])
@pytest.mark.parametrize("adjust", [False, True])
def test_baselines_learn_what_is_easy_and_repeat(problem, make, adjust):
    X, y = problem.training_rows("semi-supervised")
    settings = dict(adjust=adjust, backbone=tiny, batch_size=16, learning_rate=0.02, random_state=0)
    predictions = []
    for _ in range(2):
        global_state = torch.get_rng_state()
        predictions.append(make(60, **settings).fit(X, y).predict(problem.X_test))
        assert torch.equal(torch.get_rng_state(), global_state)
    np.testing.assert_array_equal(*predictions)
    assert (predictions[0] == problem.y_test).mean() > 0.8


def test_labels_only_is_our_model_without_rounds_and_metric_loss(problem):
    X, y = problem.training_rows("supervised")
    common = dict(n_steps=30, backbone=tiny, batch_size=32, weight_decay=0.1, random_state=3)
    baseline = LabelledOnly(adjust=True, **common).fit(X, y)
    ours = DMLPseudoLabelClassifier(max_rounds=0, metric_weight=0.0, **common).fit(X, y)
    expected = ours.network_.state_dict()
    for name, value in baseline.network_.state_dict().items():
        assert torch.equal(value, expected[name]), name
    images = torch.from_numpy(X[:8]).float().div(255)
    with torch.no_grad():  # the same, too, in what is not among the weights: seeing images from both sides
        assert torch.equal(baseline.network_(images)[1], ours.network_(images)[1])


@pytest.mark.parametrize("make", [LabelledOnly, FixMatch])
def test_adjustment_keeps_class_frequencies_out_of_the_predictions(make):
    """Where all images are alike, the frequencies decide, unless the loss was adjusted by them."""
    X = np.full((80, 3, 8, 8), 100, dtype=np.uint8)
    y = np.repeat([0, 1, -1], [36, 4, 40])
    gaps = {}
    for adjust in (False, True):
        model = make(40, adjust=adjust, backbone=tiny, batch_size=32, learning_rate=0.1).fit(X, y)
        with torch.no_grad():
            logits = model.network_(torch.from_numpy(X[:1]).float().div(255))[1][0]
        gaps[adjust] = float(logits[0] - logits[1])
    assert gaps == pytest.approx({False: np.log(9), True: 0}, abs=0.6)


def test_baselines_see_no_label_but_the_given_ones(problem):
    assert set(problem.training_rows("supervised")[1]) == {0, 1, 2}
    assert problem.n_images("supervised") == len(problem.training_rows("supervised")[0]) == 40
    X, y = problem.training_rows("semi-supervised")
    assert len(X) == problem.n_images("semi-supervised") == 80
    assert (y == -1).sum() == 40
    X, y = problem.training_rows("oracle")
    np.testing.assert_array_equal(y[40:], problem.y_unlabeled)
    assert (problem.y[40:] == -1).all()


@pytest.mark.parametrize("method", ["ours", "ours-supervised", "fixmatch", "supervised-la"])
def test_fits_take_the_passes_they_are_set_up_for(method):
    problem = fake("cifar10", size=8)
    role = METHODS[method].role
    n_images = problem.n_images(role)
    settings = dict(backbone=tiny, batch_size=16)
    fit = set_up(method, "cpu", "cifar10", 0, n_images=n_images, passes=900, **settings)
    result = run(fit, problem, role)
    # The rounds after the first take half of n_steps, rounded.
    assert 900 - 2 * cost(method, batch_size=16).passes <= result["passes"] <= 900 + 1.5 * 24
    with pytest.raises(SystemExit, match=f"10 image passes are too few for {method} on {n_images} images"):
        set_up(method, "cpu", "cifar10", 0, n_images=n_images, passes=10, **settings)


def test_the_published_preset_scores_the_mean_of_the_last_evaluations(problem, monkeypatch):
    monkeypatch.setattr(benchmark, "_recalls", lambda model, network, problem: np.array(next(recalls)))
    recalls = iter([[1.0, 0.5, 0.0], [0.5, 0.5, 0.5], [0.9, 0.9, 0.9]])
    preset = benchmark.PRESETS["paper"]._replace(params=lambda *_: {"backbone": tiny}, n_intervals=4, n_evaluations=3)
    monkeypatch.setitem(benchmark.PRESETS, "paper", preset)
    fit = set_up("fixmatch", "paper", "cifar10", 0, n_images=80, n_steps=8, batch_size=4)
    result = run(fit, problem, "semi-supervised")
    assert result["steps"] == 8
    assert result["n_evaluations"] == 3
    assert result["bacc"] == pytest.approx((0.5 + 0.5 + 0.9) / 3)
    assert result["recalls"] == pytest.approx([0.8, 0.6333, 0.4667])
    assert next(recalls, None) is None


def test_results_are_merged_and_told(problem, monkeypatch, tmp_path):
    quick = dict(backbone=tiny, n_steps=2, max_rounds=1, batch_size=8)
    monkeypatch.setitem(METHODS, "ours", Method(partial(DMLPseudoLabelClassifier, **quick), "semi-supervised"))
    monkeypatch.setattr(benchmark, "load", lambda split, seed, validation: problem)
    baselines = ["supervised", "fixmatch"]
    for name in baselines:
        make = partial(METHODS[name].make, backbone=tiny, batch_size=4)
        monkeypatch.setitem(METHODS, name, METHODS[name]._replace(make=make))
    cost.cache_clear()
    path = tmp_path / "images-test.json"
    split = Split("cifar10", 8, {"n_labeled": 24, "imbalance_ratio": 6.0})
    with pytest.raises(SystemExit, match="run it first"):
        update(path, split, "cpu", 0, baselines, environment=ENVIRONMENT)
    for seed in (0, 1, 0):
        update(path, split, "cpu", seed, [*baselines, "ours"], environment=ENVIRONMENT)
    record = update(
        path, split, "cpu", 0, ["ours", *baselines], budgets=[300], budgets_of=["supervised"], environment=ENVIRONMENT
    )
    cost.cache_clear()
    assert record == json.loads(path.read_text())
    runs = {(r["method"], r["seed"], r["budget"]): r for r in record["runs"]}
    assert len(runs) == len(record["runs"]) == 7
    for name in baselines:
        for seed in (0, 1):
            assert runs[name, seed, None]["passes"] == pytest.approx(runs["ours", seed, None]["passes"], abs=15)
    assert runs["supervised", 0, 300]["passes"] == 300
    assert [q["round"] for q in runs["ours", 0, None]["pseudo_labels"]] == [1]

    text = table(record)
    assert text.startswith("**cifar10 24 6, preset cpu**\n")
    assert "| supervised | 300 | 1 |" in text
    assert "| ours, round 1 | 2 |" in text
    assert "abc (1 threads)" in text
    plot(record, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000
    benchmark.write_markdown(tmp_path)
    assert (tmp_path / "images.md").read_text() == text + "\n"


def told(method, passes, bacc, budget=None):
    return {
        "method": method, "seed": 0, "budget": budget, "bacc": bacc, "gm": bacc, "passes": passes, "seconds": 1.0,
        "environment": ENVIRONMENT,
    }  # fmt: skip


def test_the_table_names_the_best_of_labels_only_within_the_passes_of_ours():
    runs = [
        told("ours", 1000, 0.7),
        told("ours-supervised", 400, 0.6),
        told("ours-oracle", 900, 0.8),
        told("supervised", 1001, 0.62),
        told("supervised", 500, 0.64, budget=500),
        told("supervised", 2000, 0.9, budget=2000),
        told("fixmatch", 1000, 0.66),
    ]
    text = table({"split": "cifar10", "preset": "cpu", "pixels": 112, "runs": runs})
    assert "Labels only, at its best within the passes of ours: 64.0 (supervised, 500 passes)" in text
    assert "Oracle gap closed by ours: 0.50" in text
    assert "at 112 pixels" in text
    rows = [line.split(" | ")[:2] for line in text.splitlines() if line.startswith("| supervised")]
    assert [passes for _, passes in rows] == ["500", "1,001", "2,000"]


def test_a_split_has_the_usual_numbers_unless_told():
    nothing = dict(n_labeled=None, n_unlabeled=None, imbalance_ratio=None, imbalance_ratio_unlabeled=None)
    default = dict(nothing, size=64, unlabeled_distribution="consistent")
    assert split_of("cifar10", **default).name == "cifar10 1500 3000 100 consistent"
    assert split_of("cifar100", **{**default, "n_labeled": 50}).name == "cifar100 50 300 20 consistent"
    assert split_of("small-imagenet127", **default) == ("small-imagenet127", 64, {})
    assert split_of("imagenet127", **default).name == "imagenet127 224"
    with pytest.raises(SystemExit, match="imagenet127 has a tail of its own"):
        split_of("imagenet127", **{**default, "imbalance_ratio": 100.0})


def test_seeds_are_counted_from_the_first(monkeypatch, tmp_path):
    seeds = []

    def record_seed(path, split, preset, seed, methods, **settings):
        seeds.append(seed)
        return {"split": split.name, "preset": preset, "pixels": None, "runs": []}

    monkeypatch.setattr(benchmark, "update", record_seed)
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path)
    monkeypatch.setattr(benchmark, "write_markdown", lambda folder: None)
    threads = str(torch.get_num_threads())
    command = ["images", "--dataset", "cifar10", "--first-seed", "2", "--seeds", "3", "--threads", threads]
    monkeypatch.setattr("sys.argv", command)
    benchmark.main()
    assert seeds == [2, 3, 4]


def test_a_dry_run_takes_the_steps_asked_for(monkeypatch, capsys):
    monkeypatch.setitem(benchmark.PRESETS, "cpu", benchmark.Preset(lambda *_: {"backbone": tiny}))
    dry_run("cifar100", "cpu", ["ours", "fixmatch-la"], size=32, n_steps=5)
    ours, fixmatch = capsys.readouterr().out.splitlines()
    assert ours.startswith("cifar100 (3 x 32 x 32, 100 classes), cpu, ours: 5 steps")
    assert "fixmatch-la: 5 steps" in fixmatch


def test_the_bare_loop_repeats_the_fit_and_leaves_it_alone(problem, monkeypatch):
    monkeypatch.setattr("benchmarks.image_speed._EVERY", 4)
    X, y = problem.training_rows("semi-supervised")
    outcomes = []
    for watch in (Watch(), BareLoop()):
        model = DMLPseudoLabelClassifier(tiny, n_steps=8, max_rounds=1, batch_size=8, random_state=0)
        with watch:
            outcomes.append(model.fit(X, y).predict_proba(problem.X_test))
    np.testing.assert_array_equal(*outcomes)
    assert watch.n_steps == 12
    assert watch.images == (3 + 5 + 5) * 8  # the first step of each time is not counted
    assert 0 < watch.seconds <= watch.away
