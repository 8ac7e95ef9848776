"""Statistics of columns that come in batches, against numpy."""

import numpy as np
import pytest
import torch

from skdmlpl._moments import moments


@pytest.mark.parametrize("size", [1, 7, 50])
@pytest.mark.parametrize("shape", [(50, 6), (50, 6, 4, 3)], ids=["table", "images"])
def test_moments_agree_with_numpy(shape, size):
    X = np.random.default_rng(0).normal(3, 2, shape).astype(np.float32)
    found = moments(torch.from_numpy(X).split(size))
    axes = (0, *range(2, X.ndim))
    expected = X.mean(axes, dtype=np.float64), X.std(axes, dtype=np.float64), X.min(axes), X.max(axes)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float64
        np.testing.assert_allclose(one, other)


def test_empty_batches_are_passed_over():
    batches = [torch.empty(0, 2), torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.empty(0, 2)]
    assert torch.stack(moments(batches)).tolist() == [[2, 2], [1, 0], [1, 2], [3, 2]]
    with pytest.raises(ValueError, match="adapt needs at least one row"):
        moments(batches[:1])
