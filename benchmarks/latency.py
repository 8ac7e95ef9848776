"""What `predict` costs beside the bare network's forward: ``python -m benchmarks.latency``."""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from skdmlpl import DMLPseudoLabelClassifier

# Shape of a row, rows of the large batch, calls with it. The large batch of images is smaller: a forward takes seconds.
CASES: dict[str, tuple[tuple[int, ...], int, int]] = {
    "16 columns": ((16,), 100_000, 9),
    "64 columns": ((64,), 100_000, 9),
    "1,280 columns": ((1280,), 100_000, 5),
    "images 3 x 32 x 32": ((3, 32, 32), 4_000, 5),
}
_SINGLE_CALLS = 500
# The bare network gets its rows in chunks, and is credited with the size that suits it best.
_CHUNKS = (512, 2048)


def _rows(row_shape: tuple[int, ...], n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    if len(row_shape) > 1:
        return rng.integers(0, 256, (n, *row_shape), dtype=np.uint8)
    return rng.standard_normal((n, *row_shape), dtype=np.float32)


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def medians(functions: dict[str, Callable[[], object]], n_calls: int) -> dict[str, float]:
    """Return the median seconds of a call of each function, called in turn: all see the same noise of the machine."""
    for function in functions.values():
        function()
    calls = [{name: _seconds(function) for name, function in functions.items()} for _ in range(n_calls)]
    return {name: statistics.median(call[name] for call in calls) for name in functions}


def measure(row_shape: tuple[int, ...], n_rows: int, n_calls: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the medians for one row and for ``n_rows`` rows."""
    few = _rows(row_shape, 40)
    model = DMLPseudoLabelClassifier(n_steps=1, max_rounds=0, random_state=0, device="cpu").fit(few, np.arange(40) % 10)
    network = model.network_
    found = []
    for n, calls in ((1, _SINGLE_CALLS), (n_rows, n_calls)):
        X = _rows(row_shape, n)
        as_batch = torch.from_numpy(X).to(network.input_dtype) / (255 if X.dtype == np.uint8 else 1)

        def forward(chunk, batch=as_batch):
            with torch.inference_mode():
                for part in batch.split(chunk):
                    network(part)

        functions = {str(chunk): partial(forward, chunk) for chunk in (_CHUNKS if n > 1 else (1,))}
        found_here = medians({**functions, "predict": partial(model.predict, X)}, calls)
        found.append({"forward": min(found_here[name] for name in functions), "predict": found_here["predict"]})
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__.split(":")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        "| rows | one row: forward (ms) | predict: above it (ms) | many rows | forward (s) | predict: throughput (%) |"
        "\n|---|---|---|---|---|---|"
    )
    for case in args.cases:
        _, n_rows, _ = CASES[case]
        one, many = measure(*CASES[case])
        print(
            f"| {case} | {1e3 * one['forward']:.2f} | {1e3 * (one['predict'] - one['forward']):+.2f} | {n_rows:,} "
            f"| {many['forward']:.2f} | {100 * many['forward'] / many['predict']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
