"""Networks as arrays: what a saved estimator holds needs no device, and no trust in code that builds tensors."""

import contextlib
import copy
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

__all__ = ["PackedTensor", "pack", "unpack"]


@dataclass(frozen=True)
class PackedTensor:
    """A parameter or buffer of a module as an array.

    Attributes
    ----------
    values : ndarray, or Tensor on the CPU where numpy has no such dtype (bfloat16)
        The values; not a copy where they are on the CPU.
    strides : tuple of int
        Their layout in memory. Convolutions are faster, and round differently, with the channels last.
    is_parameter : bool
        Whether it is a parameter; a buffer otherwise.
    requires_grad : bool
        Whether training changes it; False for the weights of a frozen backbone.
    """

    values: np.ndarray | Tensor
    strides: tuple[int, ...]
    is_parameter: bool
    requires_grad: bool

    @classmethod
    def of(cls, tensor: Tensor) -> "PackedTensor":
        values = tensor.detach().cpu()
        with contextlib.suppress(TypeError):
            values = values.numpy()
        strides = torch.empty_like(tensor, device="meta").stride()  # without gaps and overlaps
        return cls(values, strides, isinstance(tensor, nn.Parameter), tensor.requires_grad)

    def tensor(self) -> Tensor:
        # Copied: joblib may have mapped the array into memory read-only.
        values = torch.tensor(self.values, device="cpu") if isinstance(self.values, np.ndarray) else self.values
        values = torch.empty_strided(values.shape, self.strides, dtype=values.dtype, device="cpu").copy_(values)
        return nn.Parameter(values, self.requires_grad) if self.is_parameter else values


def pack(module: nn.Module) -> nn.Module:
    """Return a copy of a module with a :class:`PackedTensor` for each parameter and buffer, wherever it is held.

    Those of lazy layers that have seen no batch are no values yet, and stay as they are.
    """
    tensors = (tensor for tensor in chain(module.parameters(), module.buffers()) if not is_lazy(tensor))
    return copy.deepcopy(module, {id(tensor): PackedTensor.of(tensor) for tensor in tensors})


def unpack(module: nn.Module) -> nn.Module:
    """Undo :func:`pack`; all tensors are on the CPU."""
    held = chain.from_iterable((*part._parameters.values(), *part._buffers.values()) for part in module.modules())
    return copy.deepcopy(module, {id(packed): packed.tensor() for packed in held if isinstance(packed, PackedTensor)})
