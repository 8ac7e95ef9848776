"""The optimiser against torch's own."""

import subprocess
import sys

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from skdmlpl._optimizer import AdamW


def trained(optimizer_class, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    matrix, vector, unused = (
        torch.nn.Parameter(torch.rand(shape, generator=generator).to(dtype)) for shape in [(5, 3), (3,), (2, 2)]
    )
    groups = [{"params": [matrix, unused], "weight_decay": 0.5}, {"params": [vector], "weight_decay": 0.0}]
    optimizer = optimizer_class(groups, lr=0.05, betas=(0.9, 0.98))
    for step in range(20):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 / (step + 1)
        optimizer.zero_grad()
        assert matrix.grad is None
        inputs = torch.rand(7, 5, generator=generator).to(dtype)
        ((inputs @ matrix) * vector).sin().sum().backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in (matrix, vector, unused)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_those_of_torch(dtype):
    torch.testing.assert_close(trained(AdamW, dtype), trained(torch.optim.AdamW, dtype), rtol=1e-5, atol=1e-6)


def test_hooks_see_each_step():
    seen = []
    hook = register_optimizer_step_post_hook(lambda optimizer, *_: seen.append(type(optimizer)))
    try:
        trained(AdamW)
    finally:
        hook.remove()
    assert seen == [AdamW] * 20


def test_it_does_not_load_the_compiler():
    code = (
        "import sys, torch\n"
        "from skdmlpl._optimizer import AdamW\n"
        "p = torch.nn.Parameter(torch.ones(2, 2))\n"
        "optimizer = AdamW([{'params': [p], 'weight_decay': 0.1}], lr=0.1, betas=(0.9, 0.98))\n"
        "p.sum().backward()\n"
        "optimizer.step()\n"
        "optimizer.zero_grad()\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
