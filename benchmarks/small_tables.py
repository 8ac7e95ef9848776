"""What unlabelled rows do to small tables, for better or worse: ``python -m benchmarks.small_tables --seeds 5``."""

import argparse
import json

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.data import DISTRIBUTIONS, load
from benchmarks.features import RESULTS, environment, mean_std, run, write
from benchmarks.peers import METHODS, ours
from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl._defaults import resolve_networks

PROBLEMS = (
    "wine",
    "iris",
    "breast-cancer",
    "blood-cells",
    "tissues",
    "leaves",
    "moons",
    "circles",
    "hypercube-2",
    "hypercube-5",
    "categories",
    "long-tailed-5",
    "one-telling-column",
)
BASELINE, OURS, SELF_TRAINED = "ours-supervised", "ours", "ours, self-trained networks alone"


def scores(problem_name: str, distribution: str, seed: int) -> list[dict]:
    """Fit each method once."""
    problem = load(problem_name, seed, distribution)
    n_networks, _ = resolve_networks(
        DMLPseudoLabelClassifier(), row_shape=problem.X_labeled.shape[1:], n_unlabeled=len(problem.X_unlabeled)
    )
    methods = {
        BASELINE: METHODS[BASELINE],
        OURS: METHODS[OURS],
        SELF_TRAINED: METHODS[OURS]._replace(make=ours(n_networks=n_networks)),
    }
    key = {"dataset": problem_name, "distribution": distribution, "seed": seed}
    keep = ("bacc", "gm", "seconds")
    results = {name: run(method, problem, seed) for name, method in methods.items()}
    return [{"method": name, **key, **{score: result[score] for score in keep}} for name, result in results.items()]


def table(record: dict) -> str:
    """Markdown table: the baseline, and how far the others are from it, seed by seed."""
    found = {(r["method"], r["dataset"], r["distribution"], r["seed"]): r for r in record["runs"]}
    columns = [(OURS, "bacc"), (SELF_TRAINED, "bacc"), (OURS, "gm")]
    lines = [
        "**Small tables, with and without unlabelled rows**\n",
        "Balanced accuracy on the given labels alone (`max_rounds=0`); beside it, the difference that unlabelled rows "
        "make, seed by seed: to our model, to its self-trained networks without the one of given labels, and to the "
        "geometric mean of our model's recalls.\n",
        "| problem | seeds | given labels alone | ours | without that network | ours, GM |",
        "|---|---|---|---|---|---|",
    ]
    means: dict[tuple[str, str], list[float]] = {column: [] for column in columns}
    for dataset in PROBLEMS:
        for distribution in DISTRIBUTIONS:
            seeds = sorted(key[3] for key in found if key[:3] == (BASELINE, dataset, distribution))
            if not seeds:
                continue
            base = [found[BASELINE, dataset, distribution, seed] for seed in seeds]
            cells = [mean_std((r["bacc"] for r in base), 100)]
            for method, score in columns:
                others = (found[method, dataset, distribution, seed] for seed in seeds)
                gains = [other[score] - r[score] for other, r in zip(others, base, strict=True)]
                means[method, score].append(100 * float(np.mean(gains)))
                cells.append(mean_std(gains, 100))
            lines.append(f"| {dataset}, {distribution} | {len(seeds)} | " + " | ".join(cells) + " |")
    lines.append("| mean | | | " + " | ".join(f"{np.mean(gains):.1f}" for gains in means.values()) + " |")
    lines.append("| worst | | | " + " | ".join(f"{min(gains):.1f}" for gains in means.values()) + " |")
    commits = sorted({r["environment"]["commit"] for r in record["runs"]})
    return "\n".join([*lines, "", f"Commits: {', '.join(commits)}"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small_tables", description=__doc__.split(":")[0])
    parser.add_argument("--dataset", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--distribution", nargs="+", choices=DISTRIBUTIONS, default=list(DISTRIBUTIONS))
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, counted from 0")
    args = parser.parse_args()

    torch.set_num_threads(1)
    path = RESULTS / "small_tables.json"
    record = json.loads(path.read_text()) if path.exists() else {"benchmark": "small_tables", "runs": []}
    env = environment()
    with threadpool_limits(1):
        for dataset in args.dataset:
            for distribution in args.distribution:
                for seed in range(args.seeds):
                    new = scores(dataset, distribution, seed)
                    place = (dataset, distribution, seed)
                    others = [r for r in record["runs"] if (r["dataset"], r["distribution"], r["seed"]) != place]
                    record["runs"] = others + [{**r, "environment": env} for r in new]
                write(record, path)
    (RESULTS / "small_tables.md").write_text(table(record) + "\n")
    print(table(record))


if __name__ == "__main__":
    main()
