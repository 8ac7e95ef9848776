"""What surrounds a fit: device, seed, torch's state, and the estimator's own if it does not end."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import RLock

import numpy as np
import torch
from sklearn.base import BaseEstimator

from skdmlpl._training import flush_denormals, own_precision

__all__ = ["all_or_nothing", "draw_seed", "isolated_torch", "resolve_device"]

# Weights and dropout are drawn from torch's random state, which all threads share.
_ONE_AT_A_TIME = RLock()


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the device to use; None takes CUDA where there is one."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            "The 'device' parameter of DMLPseudoLabelClassifier must be a device torch can use here, such as 'cpu' or "
            f"'cuda'. Got {device!r} instead: {error}"
        ) from error
    return torch.device(device)


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Return a seed; neither numpy's nor torch's global state is read or advanced."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return int(random_state)


@contextmanager
def isolated_torch(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch inside, with its own defaults, and leave its random state, defaults and modes as they were.

    The modes are those of gradients, denormals and autocast; the defaults are dtype and device, by which the same seed
    would lead elsewhere. Fits in several threads take turns: else each would draw from what another has seeded.
    """
    devices = [device] if device.type == "cuda" else []
    with (
        _ONE_AT_A_TIME,
        torch.random.fork_rng(devices=devices),
        _default_dtype(torch.float32),
        _default_device("cpu"),
        torch.inference_mode(False),
        torch.enable_grad(),
        own_precision(device),
        flush_denormals(),
    ):
        # torch.manual_seed would seed all other devices as well, whose state is not kept.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif device.type != "cpu":
            torch.get_device_module(device).manual_seed(seed)
        yield


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    own = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(own)


def _default_device(device: str) -> AbstractContextManager:
    """Set torch's default device, unless it is that already: every call to torch would ask what is set.

    On small tables, steps took a fifth more time.
    """
    return nullcontext() if torch.get_default_device() == torch.device(device) else torch.device(device)


@contextmanager
def all_or_nothing(estimator: BaseEstimator) -> Iterator[None]:
    """Forget an earlier fit, and forget this one too if it fails or is interrupted: no mix of two fits is left."""
    _forget_fit(estimator)
    try:
        yield
    except BaseException:  # Ctrl-C is no Exception
        _forget_fit(estimator)
        raise


def _forget_fit(estimator: BaseEstimator) -> None:
    for name in [name for name in vars(estimator) if name.endswith("_") and not name.startswith("__")]:
        delattr(estimator, name)
