"""The one training loop, and the one pass that only looks."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from skdmlpl._network import Committee, EmbeddingNetwork
from skdmlpl._objectives import Objective
from skdmlpl._optimizer import AdamW
from skdmlpl._rows import Rows

__all__ = [
    "Budget",
    "Training",
    "classify_in_batches",
    "compare_in_batches",
    "embed_in_batches",
    "flush_denormals",
    "forward_in_batches",
    "own_precision",
]

_WARMUP_SHARE = 0.1
# The reported loss is a mean over this last share of the steps: one batch is too noisy to compare rounds by.
_REPORTED_SHARE = 0.1
# Longest memory of the weight average, in steps, and its share of a short run.
_EMA_STEPS = 100
_EMA_SHARE = 0.1


class Budget(NamedTuple):
    """How long and how strongly to train."""

    n_steps: int
    learning_rate: float
    weight_decay: float


class Training:
    """Gradient steps under one schedule, taken in legs.

    AdamW with decoupled decay on matrices only, a linear warm-up and a linear fall to zero at the end of the budget.
    Between the legs, and at the end, the network holds an exponential moving average of its weights (Polyak & Juditsky
    1992, doi 10.1137/0330046): of use at any learning rate, when the latest weights still jump about.
    """

    def __init__(self, network: nn.Module, budget: Budget) -> None:
        self._network = network
        self._budget = budget
        self._step = 0
        parameters = [p for p in network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": budget.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimizer = AdamW(groups, lr=budget.learning_rate, betas=(0.9, 0.98))
        self._average = WeightAverage(network, memory=max(1.0, min(_EMA_STEPS, _EMA_SHARE * budget.n_steps)))

    def run(
        self, objectives: Sequence[Objective], n_steps: int, on_step: Callable[[int, int], None] | None = None
    ) -> list[float]:
        """Minimise the weighted sum of the objectives for ``n_steps`` of the budget.

        After each step, ``on_step`` is told how many are done, and of how many.

        Returns
        -------
        list of float
            Mean of each loss of the objectives over the last of these steps.

        Raises
        ------
        ValueError
            At the first loss that is not finite; the message names the objective.
        """
        n_reported = max(1, round(_REPORTED_SHARE * n_steps))
        reported = [0.0 for objective in objectives for _ in objective.names]
        self._network.train()
        self._average.exchange()
        for remaining in range(n_steps - 1, -1, -1):
            values = self._take_step(objectives)
            if remaining < n_reported:
                reported = [total + value / n_reported for total, value in zip(reported, values, strict=True)]
            if on_step is not None:
                on_step(n_steps - remaining, n_steps)
        self._average.exchange()
        self._optimizer.zero_grad()  # as large as the weights, and of no use after the last step
        self._network.eval()
        return reported

    def _take_step(self, objectives: Sequence[Objective]) -> list[float]:
        budget = self._budget
        for group in self._optimizer.param_groups:
            group["lr"] = budget.learning_rate * _rate(self._step, budget.n_steps)
        self._step += 1
        self._optimizer.zero_grad()
        values = []
        for objective in objectives:
            losses = objective.draw()
            for name, loss in zip(objective.names, losses, strict=True):
                values.append(loss.item())
                if not math.isfinite(values[-1]):
                    raise ValueError(
                        f"The {name} became {values[-1]} at step {self._step} of {budget.n_steps}. Try features of a "
                        f"smaller range, a lower 'learning_rate' (it is {budget.learning_rate:g}) or 'weight_decay' "
                        f"(it is {budget.weight_decay:g}), and look at what parts of your own return."
                    )
            total = sum(weight * loss for weight, loss in zip(objective.weights, losses, strict=True))
            if total.requires_grad:  # not where a metric loss looks at a frozen backbone, or has nothing to compare
                total.backward()
        self._optimizer.step()
        self._average.update()
        return values


def forward_in_batches(
    network: nn.Module, rows: Rows, index: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings (n, d) and logits (n, n_classes) of all rows, or of those of ``index`` (n,)."""
    embeddings, logits = _collect(network, network, rows, slice(2), index)
    return embeddings, logits


def compare_in_batches(
    network: EmbeddingNetwork | Committee, rows: Rows, index: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return what neighbours are looked for by (n, d), and logits (n, n_classes), in the dtype of the weights.

    Of all rows, or of those of ``index`` (n,).
    """
    places, logits = _collect(network, network.compare, rows, slice(2), index)
    return places, logits


def embed_in_batches(network: nn.Module, rows: Rows) -> np.ndarray:
    """Return the embeddings (n, d) of all rows; their logits are not kept."""
    (embeddings,) = _collect(network, network, rows, slice(1))
    return embeddings


def classify_in_batches(network: nn.Module, rows: Rows, index: np.ndarray | None = None) -> np.ndarray:
    """Return logits (n, n_classes) of all rows, or those of ``index`` (n,); embeddings, far larger, are not kept."""
    (logits,) = _collect(network, network, rows, slice(1, 2), index)
    return logits


def _collect(
    network: nn.Module,
    forward: Callable[[Tensor], tuple[Tensor, ...]],
    rows: Rows,
    keep: slice,
    index: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Run the network over all rows, or those of ``index``; return those of its outputs that are to be kept."""
    network.eval()
    n_rows = len(rows) if index is None else len(index)
    wholes: list[np.ndarray] = []
    start = 0
    with torch.inference_mode(), own_precision(rows.device):
        for batch in rows.batches(index=index):
            parts = [output.cpu().numpy() for output in forward(batch)[keep]]
            if start == 0:  # filled in place: joining the parts at the end would hold everything twice
                wholes = [np.empty((n_rows, part.shape[1]), dtype=part.dtype) for part in parts]
            for whole, part in zip(wholes, parts, strict=True):
                whole[start : start + len(part)] = part
            start += len(batch)
    return wholes


class WeightAverage:
    """Exponential moving average of a network's parameters and floating buffers, unbiased from the first step on."""

    def __init__(self, network: nn.Module, memory: float) -> None:
        # Infinite entries, as of attention masks, have no mean; and one place in memory cannot hold several.
        buffers = [b for b in network.buffers() if b.isfinite().all() and 0 not in b.stride()]
        self._live = [t for t in (*network.parameters(), *buffers) if t.is_floating_point()]
        self._mean = [t.clone() for t in self._live]
        self._decay = 1.0 - 1.0 / memory
        self._n_updates = 0

    @torch.no_grad()
    def update(self) -> None:
        self._n_updates += 1
        # A plain mean while fewer steps than the memory have been seen: the initial weights leave no trace.
        decay = min(self._decay, 1.0 - 1.0 / self._n_updates)
        torch._foreach_lerp_(self._mean, self._live, 1.0 - decay)

    @torch.no_grad()
    def exchange(self) -> None:
        """Put the average into the network, and keep the network's own values in its place; a second call undoes it."""
        own = [t.clone() for t in self._live]
        torch._foreach_copy_(self._live, self._mean)
        torch._foreach_copy_(self._mean, own)


@contextmanager
def own_precision(device: torch.device) -> Iterator[None]:
    """Leave the precision inside to the network, as if no autocast surrounded it, and restore the caller's."""
    if not torch.amp.is_autocast_available(device.type):  # there it cannot be turned off either
        yield
        return
    was_on, was_cached = torch.is_autocast_enabled(device.type), torch.is_autocast_cache_enabled()
    # Not by torch.autocast: one around a fit keeps the weights' casts to its end, and no step sees what the last one
    # learned. Where the caller's is such a one, nothing is kept.
    torch.set_autocast_enabled(device.type, False)
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_enabled(device.type, was_on)
        torch.set_autocast_cache_enabled(was_cached)


@contextmanager
def flush_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero inside, and restore the caller's mode.

    The moments of parameters that stopped getting gradients decay into the denormal range, where a CPU computes some
    twenty times slower.
    """
    was_on = torch.tensor([1e-40], dtype=torch.float32).mul(1.0).item() == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_on)


def _rate(step: int, n_steps: int) -> float:
    """Return the share of the full learning rate at ``step``: linear warm-up, then linearly to zero."""
    warmup = _WARMUP_SHARE * n_steps
    return min((step + 1) / (warmup + 1), (n_steps - step) / (n_steps - warmup))
