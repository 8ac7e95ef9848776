"""AdamW without torch's compiler."""

import inspect

import torch
from torch.optim import Optimizer

__all__ = ["AdamW"]


class AdamW(torch.optim.AdamW):
    """:class:`torch.optim.AdamW`, all parameters in one call.

    torch wraps these methods for the sake of its compiler, which the first call loads: about a second and 150 MB in
    each process. Nothing here is compiled, so they come without the wrapper.
    """

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))

    def __init__(self, groups: list[dict], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, lr=lr, betas=betas, fused=True)
