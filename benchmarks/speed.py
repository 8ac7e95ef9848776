"""Time and memory of one default fit, each case in a process of its own: ``python -m benchmarks.speed``."""

import argparse
import contextlib
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.data import load

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def _rows(name: str) -> Rows:
    problem = load(name, 0)
    return problem.X_labeled, problem.y_labeled, problem.X_unlabeled


def _synthetic(n_labeled: int = 2000, n_unlabeled: int = 200_000, n_features: int = 64) -> Rows:
    """Ten overlapping Gaussian classes, long-tailed."""
    rng = np.random.default_rng(0)
    prior = np.geomspace(1, 1 / 50, 10)
    y = rng.choice(10, size=n_labeled + n_unlabeled, p=prior / prior.sum())
    X = rng.standard_normal((len(y), n_features), dtype=np.float32)
    X += rng.normal(scale=0.5, size=(10, n_features)).astype(np.float32)[y]
    return X[:n_labeled], y[:n_labeled], X[n_labeled:]


CASES: dict[str, Callable[[], Rows]] = {
    "digits": lambda: _rows("digits"),
    "cifar10-features": lambda: _rows("cifar10-features"),
    "synthetic-200k": _synthetic,
}


def _status_mib(field: str) -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))


class Cost(NamedTuple):
    """What a piece of work took."""

    seconds: float
    cpu_seconds: float  # of all threads; what to compare where other programs are running
    peak_mib: float  # resident at the peak, above what was resident right before


def timed(work: Callable[[], object]) -> Cost:
    """Measure ``work``.

    The peak is an upper bound where the system does not let a process reset its own high-water mark.
    """
    gc.collect()
    before = _status_mib("VmRSS")
    # Without this reset the high-water mark may be that of loading the data.
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as clear_refs:
        clear_refs.write("5")
    start, cpu_start = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - start, time.process_time() - cpu_start, _status_mib("VmHWM") - before)


def measure(case: str, threads: int) -> dict:
    """Fit once in this process."""
    import torch

    from skdmlpl import DMLPseudoLabelClassifier

    torch.set_num_threads(threads)
    X, y, X_unlabeled = CASES[case]()
    cost = timed(lambda: DMLPseudoLabelClassifier(random_state=0).fit(X, y, X_unlabeled))
    return {
        "case": case,
        "labeled": X.shape,
        "unlabeled": X_unlabeled.shape,
        "seconds": round(cost.seconds, 2),
        "cpu_seconds": round(cost.cpu_seconds, 2),
        "peak_mib": round(cost.peak_mib),
        "data_mib": round((X.nbytes + X_unlabeled.nbytes) / 2**20),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.split(":")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--here", action="store_true", help="measure the only case in this process, print JSON")
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(args.cases[0], args.threads)))
        return

    print("| case | labelled | unlabelled | data (MiB) | seconds | CPU seconds | peak above data (MiB) |")
    print("|---|---|---|---|---|---|---|")
    for case in args.cases:
        command = [sys.executable, "-m", "benchmarks.speed", "--here", "--threads", str(args.threads), "--cases", case]
        environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
        output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        r = json.loads(output.splitlines()[-1])
        shapes = [" x ".join(f"{n:,}" for n in r[part]) for part in ("labeled", "unlabeled")]
        values = [case, *shapes, r["data_mib"], r["seconds"], r["cpu_seconds"], r["peak_mib"]]
        print(f"| {' | '.join(map(str, values))} |", flush=True)


if __name__ == "__main__":
    main()
