"""Tests of the ablation: that what it leaves out is still there, and that leaving it out changes the fit."""

import numpy as np
import pytest

from benchmarks import ablation
from benchmarks.data import Problem


def small_problem(*_args):
    rng = np.random.default_rng(0)
    y, hidden = np.repeat([0, 1, 2], [20, 10, 5]), np.arange(90) % 3
    X, U = (
        rng.normal(size=(len(c), 6)).astype(np.float32) + 2 * np.eye(3, 6, dtype=np.float32)[c] for c in (y, hidden)
    )
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
