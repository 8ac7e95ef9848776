"""What `predict` costs beside the bare network's forward: ``python -m benchmarks.latency``."""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from skdmlpl import DMLPseudoLabelClassifier

# Shape of a row, rows of the large batch, calls with it. What takes seconds or gigabytes has a smaller batch.
CASES: dict[str, tuple[tuple[int, ...], int, int]] = {
    "16 columns": ((16,), 100_000, 9),
    "64 columns": ((64,), 100_000, 9),
    "1,280 columns": ((1280,), 20_000, 9),
    "images 3 x 32 x 32": ((3, 32, 32), 2_000, 9),
}
_SINGLE_CALLS = 500
# The bare network gets its rows in chunks, and is credited with the size that suits it best.
_CHUNKS = (512, 2048)


def _rows(row_shape: tuple[int, ...], n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    if len(row_shape) > 1:
        return rng.integers(0, 256, (n, *row_shape), dtype=np.uint8)
    return rng.standard_normal((n, *row_shape), dtype=np.float32)


def medians(functions: dict[str, Callable[[], object]], n_calls: int, clock: Callable[[], float]) -> dict[str, float]:
    """Return the median seconds of a call of each function, called in turn: all see the same noise of the machine."""

    def seconds(function: Callable[[], object]) -> float:
        start = clock()
        function()
        return clock() - start

    for function in functions.values():
        function()
    calls = [{name: seconds(function) for name, function in functions.items()} for _ in range(n_calls)]
    return {name: statistics.median(call[name] for call in calls) for name in functions}


def measure(
    row_shape: tuple[int, ...], n_rows: int, n_calls: int, clock: Callable[[], float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the medians for one row and for ``n_rows`` rows: of the network, of a bare call of it, of `predict`."""
    few = _rows(row_shape, 40)
    model = DMLPseudoLabelClassifier(n_steps=1, max_rounds=0, random_state=0, device="cpu").fit(few, np.arange(40) % 10)
    network = model.network_

    def to_network(X: np.ndarray) -> torch.Tensor:
        batch = torch.from_numpy(X).to(network.input_dtype)
        return batch / 255 if X.dtype == np.uint8 else batch

    found = []
    for n, calls in ((1, _SINGLE_CALLS), (n_rows, n_calls)):
        X = _rows(row_shape, n)
        batches = (to_network(X) if X.dtype == np.uint8 else torch.from_numpy(X)).split

        def forward(chunk, batches=batches):
            with torch.inference_mode():
                for batch in batches(chunk):
                    network(batch)

        def without_checks(chunk, X=X):
            with torch.inference_mode():
                for start in range(0, len(X), chunk):
                    _, logits = network(to_network(X[start : start + chunk]))
                    model.classes_[logits.argmax(dim=1).numpy()]

        trials = medians({chunk: partial(forward, chunk) for chunk in _CHUNKS}, 3, clock)
        chunk = min(trials, key=trials.get)
        functions = {
            "forward": partial(forward, chunk),
            "without checks": partial(without_checks, chunk),
            "predict": partial(model.predict, X),
        }
        found.append(medians(functions, calls, clock))
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__.split(":")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true", help="count processor time: for a machine that is busy")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        "| rows | one row: forward (ms) | without checks (ms) | predict (ms) "
        "| many rows | forward (s) | without checks | predict |\n|---|---|---|---|---|---|---|---|"
    )
    for case in args.cases:
        _, n_rows, _ = CASES[case]
        one, many = measure(*CASES[case], time.process_time if args.cpu_time else time.perf_counter)
        above = [f"{1e3 * (one[name] - one['forward']):+.2f}" for name in ("without checks", "predict")]
        throughput = [f"{100 * many['forward'] / many[name]:.1f} %" for name in ("without checks", "predict")]
        print(
            f"| {case} | {1e3 * one['forward']:.2f} | {' | '.join(above)} "
            f"| {n_rows:,} | {many['forward']:.2f} | {' | '.join(throughput)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
