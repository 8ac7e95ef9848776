"""How the benchmark of small tables measures the difference that unlabelled rows make."""

from functools import partial

import numpy as np
import pytest

from benchmarks import small_tables as benchmark
from benchmarks.data import Problem
from benchmarks.small_tables import BASELINE, OURS, SELF_TRAINED, scores, table


@pytest.fixture
def problem(monkeypatch):
    rng = np.random.default_rng(0)

    def rows(n):
        y = np.tile([0, 1], n)
        return rng.normal(size=(2 * n, 3)) + 4 * y[:, None], y

    problem = Problem(*rows(6), *rows(20), *rows(10), bayes=None)
    monkeypatch.setattr(benchmark, "load", lambda dataset, seed, distribution: problem)
    return problem


def test_methods_differ_in_the_unlabelled_rows_and_in_the_networks(problem, monkeypatch):
    fitted = []

    def run(method, problem, seed):
        fitted.append((method.role, method.make(seed)))
        return {"bacc": 0.5, "gm": 0.5, "seconds": 1.0, "recalls": [], "config": ""}

    monkeypatch.setattr(benchmark, "run", run)
    runs = scores("wine", "reversed", 3)
    assert [r["method"] for r in runs] == [BASELINE, OURS, SELF_TRAINED]
    assert all((r["dataset"], r["distribution"], r["seed"]) == ("wine", "reversed", 3) for r in runs)
    assert [(role, model.max_rounds, model.n_networks) for role, model in fitted] == [
        ("supervised", 0, None),
        ("semi-supervised", 3, None),
        ("semi-supervised", 3, 1),
    ]
    assert {model.random_state for _, model in fitted} == {3}


def test_table_tells_differences_seed_by_seed():
    def run(method, distribution, seed, bacc, gm):
        key = {"method": method, "dataset": "wine", "distribution": distribution, "seed": seed}
        return {**key, "bacc": bacc, "gm": gm, "environment": {"commit": "abc"}}

    seen = []
    for distribution, gain in (("consistent", 0.01), ("reversed", -0.03)):
        for seed, base in enumerate((0.5, 0.7)):
            add = partial(run, distribution=distribution, seed=seed)
            seen += [
                add(BASELINE, bacc=base, gm=base),
                add(OURS, bacc=base + gain, gm=base + 2 * gain),
                add(SELF_TRAINED, bacc=base - gain, gm=0.0),
            ]
    lines = table({"runs": seen}).splitlines()
    assert "| wine, consistent | 2 | 60.0 ± 10.0 | 1.0 ± 0.0 | -1.0 ± 0.0 | 2.0 ± 0.0 |" in lines
    assert "| wine, reversed | 2 | 60.0 ± 10.0 | -3.0 ± 0.0 | 3.0 ± 0.0 | -6.0 ± 0.0 |" in lines
    assert "| mean | | | -1.0 | 1.0 | -2.0 |" in lines
    assert "| worst | | | -3.0 | -1.0 | -6.0 |" in lines
