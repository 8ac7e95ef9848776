"""The scores of the benchmarks, and how those on feature matrices merge their results and tell them."""

import json

import numpy as np
import pytest

from benchmarks import features as benchmark
from benchmarks.data import Problem
from benchmarks.features import mean_std, plot, table, update
from benchmarks.scores import balanced_accuracy, class_recalls, geometric_mean, oracle_gap_closed, total_variation

ENVIRONMENT = {"commit": "abc", "threads": 1}


def test_scores_equal_those_by_hand():
    recalls = class_recalls(np.array([0, 0, 1, 1, 1, 1]), np.array([0, 1, 1, 1, 1, 0]))
    np.testing.assert_allclose(recalls, [0.5, 0.75])
    assert balanced_accuracy(recalls) == 0.625
    assert geometric_mean(recalls) == pytest.approx((0.5 * 0.75) ** 0.5)
    assert geometric_mean(np.array([0.0, 0.5])) == pytest.approx((0.5 / 200) ** 0.5)  # zero counts as 1 / (100 * 2)
    assert oracle_gap_closed(0.75, supervised=0.5, oracle=1.0) == 0.5
    assert np.isnan(oracle_gap_closed(0.75, supervised=0.5, oracle=0.5))
    assert total_variation([0.5, 0.5, 0.0], [0.25, 0.5, 0.25]) == 0.25


def test_means_have_a_deviation_where_there_is_one():
    assert mean_std([0.5, 0.7], 100) == "60.0 ± 10.0"
    assert mean_std([0.5], digits=2) == "0.50"
    assert mean_std([]) == "-"


def test_results_are_merged_and_told(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)

    def rows(n):
        y = np.tile([0, 1], n)
        return rng.normal(size=(2 * n, 3)) + 4 * y[:, None], y

    problem = Problem(*rows(6), *rows(20), *rows(10), bayes=0.9)
    monkeypatch.setattr(benchmark, "load", lambda dataset, seed, distribution: problem)
    path = tmp_path / "features-test-consistent.json"
    methods = ["logreg", "self-training-svc", "logreg-oracle"]
    for seed in (0, 1, 0):
        update(path, "test", "consistent", seed, methods, ENVIRONMENT)
    record = update(path, "test", "consistent", 0, ["ours"], ENVIRONMENT)
    assert record == json.loads(path.read_text())
    assert len(record["runs"]) == 7
    assert record["problems"]["0"]["labeled"] == [6, 6]

    text = table(record)
    assert text.startswith("**test, consistent**\n")
    assert "| logreg | 2 | " in text
    assert "| ours, round 3 | 1 | 100.0 | " in text
    assert "Best possible bACC: 90.0" in text
    benchmark.write_markdown(tmp_path)
    assert (tmp_path / "features.md").read_text() == text + "\n"
    plot(record, tmp_path / "features.png")
    assert (tmp_path / "features.png").stat().st_size > 1000
