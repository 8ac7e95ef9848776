"""Tests of the ablation: that what it leaves out is still there, and that leaving it out changes the fit."""

import numpy as np
import pytest

from benchmarks import ablation
from benchmarks.data import Problem
from benchmarks.image_data import fake


def small_problem(*_args):
    rng = np.random.default_rng(0)
    y, hidden = np.repeat([0, 1, 2], [20, 10, 5]), np.arange(90) % 3
    # Clusters that have nothing to do with the classes: neighbours deserve some doubt.
    clusters = rng.normal(size=(12, 18))

    def rows(c):
        X = rng.normal(size=(len(c), 6)) + 1.5 * np.eye(3, 6)[c]
        return np.concatenate([X, clusters[rng.integers(12, size=len(c))]], axis=1).astype(np.float32)

    X, U = rows(y), rows(hidden)
    return Problem(X, y, U, hidden, U, hidden, None)


@pytest.fixture(scope="module")
def fits():
    """Probabilities of each variant, and once more of the whole method, to see that nothing is left patched."""
    seen = []

    class ShortFit(ablation.DMLPseudoLabelClassifier):
        def fit(self, *args, **kwargs):
            self.set_params(n_steps=20, learning_rate=1e-2)
            super().fit(*args, **kwargs)
            seen.append(self.predict_proba(small_problem().X_test))
            return self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation, "load", small_problem)
        patch.setattr(ablation, "DMLPseudoLabelClassifier", ShortFit)
        for name in [*ablation.VARIANTS, "the method"]:
            scores = ablation.run(ablation.VARIANTS[name], "digits", "consistent", 0)
            assert 0 <= scores["gm"] <= scores["bacc"] <= 1
    np.testing.assert_array_equal(seen[-1], seen[0])
    return dict(zip(ablation.VARIANTS, seen, strict=False))


@pytest.mark.parametrize("name", [name for name in ablation.VARIANTS if name != "the method"])
def test_every_variant_changes_the_fit(name, fits):
    assert not np.array_equal(fits[name], fits["the method"])


def test_images_are_scored_on_spare_training_images(monkeypatch):
    asked = []
    drawn = fake("cifar10", 8)
    monkeypatch.setattr(ablation.image_data, "load", lambda *args, **kwargs: asked.append((args, kwargs)) or drawn)
    problem = ablation.load_images(3, "reversed")
    ((split, seed), how) = asked[0]
    assert (split.name, seed, how) == ("cifar10 1500 3000 100 reversed", 3, {"validation": True})
    rows = np.concatenate([problem.X_labeled, problem.X_unlabeled])
    np.testing.assert_array_equal(rows, drawn.X)
    np.testing.assert_array_equal(problem.y_labeled, drawn.y[drawn.y >= 0])
    assert len(problem.y_unlabeled) == len(problem.X_unlabeled)
    assert problem.X_test is drawn.X_test


def test_the_table_pairs_seeds_and_says_how_many_there_are():
    def result(variant, dataset, seed, bacc):
        return {
            "variant": variant, "dataset": dataset, "distribution": "reversed", "seed": seed, "bacc": bacc,
            "environment": {"commit": "abc"},
        }  # fmt: skip

    runs = [
        result("the method", "digits", 0, 0.80),
        result("the method", "digits", 1, 0.90),
        result("no mixup", "digits", 1, 0.85),
        result("no mixup", "digits", 0, 0.81),
        result("the method", "letter", 0, 0.70),
    ]
    lines = ablation.table({"runs": runs}).splitlines()
    assert "| left out | digits, reversed (2) | letter, reversed (1) |" in lines
    assert "| the method | 85.0 ± 5.0 | 70.0 |" in lines
    assert "| no mixup | -2.0 ± 3.0 | - |" in lines
