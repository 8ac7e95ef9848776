"""Throughput and memory of fits on images: ``python -m benchmarks.image_speed``."""

import argparse
import copy
import json
import os
import subprocess
import sys
import time
from collections import deque

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.image_data import ImageProblem, load, split_of
from benchmarks.speed import timed
from benchmarks.watch import Watch
from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl._network import EmbeddingNetwork
from skdmlpl.augmentations import StrongImageAugmentation, WeakImageAugmentation

# The bare loop runs within the fit, so that both meet the same load on the machine: after so many steps of the fit, the
# last few of them again. The first of these is not timed, as it finds a cold cache.
_EVERY = 50
_AGAIN = 6


class BareLoop(Watch):
    """Repeats steps of the fit it watches: forward, backward and optimiser, on the same views, and nothing else.

    Attributes
    ----------
    images : int
        Images of the timed repetitions.
    seconds : float
        Their duration.
    away : float
        Seconds spent here and not in the fit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.images = 0
        self.seconds = self.away = 0.0
        self._views: list[Tensor] = []
        self._steps: deque[list[Tensor]] = deque(maxlen=_AGAIN)
        self._copy: EmbeddingNetwork | None = None

    def on_trained(self, batch: Tensor) -> None:
        super().on_trained(batch)
        self._views.append(batch)

    def on_step(self, network: EmbeddingNetwork) -> None:
        self._steps.append(self._views)
        self._views = []
        if self.n_steps % _EVERY == 0:
            start = time.perf_counter()
            with self.paused():
                self._measure(network)
            self.away += time.perf_counter() - start

    def _measure(self, network: EmbeddingNetwork) -> None:
        if self._copy is None:
            self._copy = copy.deepcopy(network)
            self._optimizer = torch.optim.AdamW(self._copy.parameters(), lr=1e-3)
        for number, views in enumerate(self._steps):
            start = time.perf_counter()
            self._repeat(views)
            if number > 0:
                self.seconds += time.perf_counter() - start
                self.images += sum(map(len, views))

    def _repeat(self, views: list[Tensor]) -> None:
        self._optimizer.zero_grad()
        for batch in views:
            _, logits = self._copy(batch)
            target = torch.arange(len(batch), device=batch.device) % logits.shape[1]
            F.cross_entropy(logits, target).backward()
        self._optimizer.step()


def cifar10(seed: int = 0) -> ImageProblem:
    """The usual CIFAR-10-LT."""
    return load(split_of("cifar10"), seed)


def throughput(problem: ImageProblem, n_steps: int | None) -> dict[str, float]:
    """Images trained on in a second, by a whole fit and by the bare loop; the fit's other work counts against it."""
    model = DMLPseudoLabelClassifier(n_steps=n_steps, random_state=0)
    loop = BareLoop()
    start = time.perf_counter()
    with loop:
        model.fit(problem.X, problem.y)
    fit = loop.trained / (time.perf_counter() - start - loop.away)
    bare = loop.images / loop.seconds
    return {"fit": fit, "bare": bare, "share": fit / bare}


def augmentation_rates(size: int = 32, batch_size: int = 128, seconds: float = 2.0) -> dict[str, float]:
    """Images altered in a second of one core's time."""
    generator = torch.Generator().manual_seed(0)
    batch = torch.rand(batch_size, 3, size, size, generator=generator)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rates = {}
    for name, augment in (("weak", WeakImageAugmentation()), ("strong", StrongImageAugmentation())):
        augment(batch, generator)
        n_batches, start = 0, time.process_time()
        while time.process_time() - start < seconds:
            augment(batch, generator)
            n_batches += 1
        rates[name] = n_batches * batch_size / (time.process_time() - start)
    torch.set_num_threads(threads)
    return rates


def memory(problem: ImageProblem, batch_size: int = 256) -> dict[str, float]:
    """MiB at the peak above the data, in a few steps of all rounds: more steps need no more."""
    model = DMLPseudoLabelClassifier(n_steps=4, batch_size=batch_size, random_state=0)
    peak = timed(lambda: model.fit(problem.X, problem.y)).peak_mib
    return {"peak_mib": peak, "data_mib": problem.X.nbytes / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.image_speed", description=__doc__.split(":")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--n-steps", type=int, help="of the fit whose throughput is measured; default: its own")
    parser.add_argument("--memory-here", action="store_true", help="measure memory in this process, print JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory_here:
        print(json.dumps(memory(cifar10())))
        return

    for name, rate in augmentation_rates().items():
        print(f"{name} augmentation: {rate:,.0f} images/s a core", flush=True)
    speed = throughput(cifar10(), args.n_steps)
    print(
        f"fit: {speed['fit']:,.0f} images/s, {speed['share']:.0%} of a bare loop's {speed['bare']:,.0f}, "
        f"{args.threads} threads",
        flush=True,
    )
    # A process of its own: what was freed before is not given back to the system, and would hide the peak.
    command = [sys.executable, "-m", "benchmarks.image_speed", "--memory-here", "--threads", str(args.threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    used = json.loads(output.splitlines()[-1])
    print(f"memory at batches of 256: {used['peak_mib']:.0f} MiB above {used['data_mib']:.0f} MiB of images")


if __name__ == "__main__":
    main()
