"""What a fit does, seen from outside: images through its network, gradient steps, and the weights on the way."""

import copy
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from skdmlpl._network import EmbeddingNetwork

# The backward pass of a convolution is two convolutions of the forward pass's size: by input and by weights.
FORWARD_SHARE = 1 / 3


class Watch:
    """Counts, while it is entered, the images that pass an embedding network and the gradient steps of its optimiser.

    It sits on torch's global hooks, so what it counts is the fit that a user gets: nothing is wrapped or passed in. An
    image counts each time that the backbone sees it, so one that is embedded from both sides counts twice.

    Attributes
    ----------
    trained : int
        Images that went forward and backward.
    only_seen : int
        Images that went forward without a gradient: to be embedded, labelled or classified.
    n_steps : int
        Gradient steps.
    """

    def __init__(self) -> None:
        self.trained = self.only_seen = self.n_steps = 0
        self._network: EmbeddingNetwork | None = None  # the last that was called
        self._trained_network: EmbeddingNetwork | None = None
        self._counting = True

    @property
    def passes(self) -> float:
        """Image passes: one for an image forward and backward, a third for one forward only."""
        return self.trained + FORWARD_SHARE * self.only_seen

    def __enter__(self) -> "Watch":
        self._hooks = [
            register_module_forward_pre_hook(self._before_forward),
            register_module_forward_hook(self._after_forward),
            register_optimizer_step_post_hook(self._after_step),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing inside."""
        self._counting = False
        yield
        self._counting = True

    def _before_forward(self, module: nn.Module, _args: tuple) -> None:
        if isinstance(module, EmbeddingNetwork):
            self._network = module

    def _after_forward(self, module: nn.Module, args: tuple, _output: object) -> None:
        if self._counting and self._network is not None and module is self._network.backbone:
            if torch.is_grad_enabled():
                self._trained_network = self._network
                self.on_trained(args[0])
            else:
                self.only_seen += len(args[0])

    def _after_step(self, _optimizer: Optimizer, _args: tuple, _kwargs: dict) -> None:
        if self._counting:
            self.n_steps += 1
            self.on_step(self._trained_network)

    def on_trained(self, batch: Tensor) -> None:
        self.trained += len(batch)

    def on_step(self, network: EmbeddingNetwork) -> None:
        """Nothing more to do here; for those who watch more."""


class WeightTrail(Watch):
    """Keeps copies of the network with the exponential mean of its weights, taken at the last of even intervals.

    Parameters
    ----------
    every : int
        Steps from one copy to the next.
    n_last : int
        Copies kept: the last ones.
    decay : float, default=0.999
        What the mean keeps of itself in a step.
    """

    def __init__(self, every: int, n_last: int, decay: float = 0.999) -> None:
        super().__init__()
        self.every = every
        self.networks: deque[EmbeddingNetwork] = deque(maxlen=n_last)
        self._decay = decay
        self._average: AveragedModel | None = None

    def on_step(self, network: EmbeddingNetwork) -> None:
        if self._average is None:
            # The statistics of batch norms too: those of one step do not go with the mean of many.
            self._average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(self._decay), use_buffers=True)
        self._average.update_parameters(network)
        if self.n_steps % self.every == 0:
            # Twenty of them have no place beside the training on a GPU.
            self.networks.append(copy.deepcopy(self._average.module).to("cpu").eval())
