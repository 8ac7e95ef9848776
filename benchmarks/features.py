"""Compare methods on feature matrices: ``python -m benchmarks.features --dataset digits letter --seeds 5``."""

import argparse
import json
import platform
import subprocess
import time
import warnings
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmarks.data import DISTRIBUTIONS, PROBLEMS, Problem, load
from benchmarks.peers import METHODS, Method
from benchmarks.scores import balanced_accuracy, class_recalls, geometric_mean, oracle_gap_closed, total_variation

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "scikit-learn", "scipy", "torch")


def environment() -> dict:
    """What a result depends on beside its configuration."""
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    # Results differ from what the commit gives only if code was changed, not if a result file was written.
    status = [*git, "status", "--porcelain", "--", ":(top)skdmlpl/*.py", ":(top)benchmarks/*.py"]
    changed = subprocess.run(status, capture_output=True, text=True).stdout.strip()
    return {
        "commit": commit + ("-dirty" if changed else ""),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def training_rows(method: Method, problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """``X_labeled, y, X_unlabeled`` as the method's role lets it see them."""
    match method.role:
        case "supervised":
            return problem.X_labeled, problem.y_labeled, None
        case "oracle":
            X = np.concatenate([problem.X_labeled, problem.X_unlabeled])
            return X, np.concatenate([problem.y_labeled, problem.y_unlabeled]), None
        case _:
            return problem.X_labeled, problem.y_labeled, problem.X_unlabeled


def diagnostics(model: ClassifierMixin, problem: Problem) -> dict:
    """What only some models can tell of the unlabelled rows: their class distribution and their pseudo-labels."""
    if not hasattr(model, "unlabeled_prior_"):
        return {}
    truth = np.bincount(problem.y_unlabeled, minlength=len(model.classes_)) / len(problem.y_unlabeled)
    return {
        "prior_distance": total_variation(model.unlabeled_prior_, truth),
        "pseudo_labels": [
            {"round": record.round, **pseudo_label_quality(record.pseudo_labels.labels, problem.y_unlabeled)}
            for record in model.history_
            if record.n_pseudo_labeled
        ],
    }


def pseudo_label_quality(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Share of rows that have a pseudo-label (-1: none), and of those the accuracy and the mean recall of classes."""
    chosen = labels >= 0
    return {
        "coverage": round(float(chosen.mean()), 4),
        "accuracy": round(float((labels[chosen] == truth[chosen]).mean()), 4),
        "mean_recall": round(balanced_accuracy(class_recalls(truth[chosen], labels[chosen])), 4),
    }


def run(method: Method, problem: Problem, seed: int) -> dict:
    """Fit once and score on the test rows."""
    rows = training_rows(method, problem)
    model = method.make(seed)
    start = time.perf_counter()
    model.fit(*rows)
    seconds = time.perf_counter() - start
    recalls = class_recalls(problem.y_test, model.predict(problem.X_test))
    return {
        "bacc": balanced_accuracy(recalls),
        "gm": geometric_mean(recalls),
        "recalls": [round(float(r), 4) for r in recalls],
        "seconds": round(seconds, 3),
        **(diagnostics(model, problem) if method.role == "semi-supervised" else {}),
        "config": " ".join(repr(method.make(0)).split()),
    }


def gaps(runs: list[dict], name: str) -> list[float]:
    """Oracle gap closed by ``name`` in each seed that has both ends of the scale: its own model and budget."""
    score = {(r["method"], r["seed"]): r["bacc"] for r in runs}
    relatives = {m.role: key for key, m in METHODS.items() if m.family == METHODS[name].family}
    ends = [relatives.get("supervised"), relatives.get("oracle")]
    seeds = [seed for key, seed in score if key == name and all((end, seed) in score for end in ends)]
    return [oracle_gap_closed(score[name, seed], *(score[end, seed] for end in ends)) for seed in seeds]


def mean_std(values: Iterable[float], scale: float = 1, digits: int = 1) -> str:
    """Mean ± standard deviation. A single value has no deviation, and no value is a dash."""
    values = scale * np.array(list(values))
    if len(values) == 0:
        return "-"
    deviation = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{deviation}"


def table(record: dict) -> str:
    """Markdown table, mean ± standard deviation over the seeds."""
    lines = [
        f"**{record['dataset']}, {record['distribution']}**\n",
        "| method | seeds | bACC | GM | oracle gap closed | prior distance | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, method in METHODS.items():
        runs = [r for r in record["runs"] if r["method"] == name]
        if not runs:
            continue
        cells = [
            mean_std((r["bacc"] for r in runs), 100),
            mean_std((r["gm"] for r in runs), 100),
            mean_std(gaps(record["runs"], name) if method.role == "semi-supervised" else [], digits=2),
            mean_std((r["prior_distance"] for r in runs if "prior_distance" in r), digits=3),
            mean_std((r["seconds"] for r in runs), digits=2),
        ]
        lines.append(f"| {name} | {len(runs)} | {' | '.join(cells)} |")
    bayes = [p["bayes"] for p in record["problems"].values() if p["bayes"] is not None]
    if bayes:
        lines.append(f"\nBest possible bACC: {mean_std(bayes, 100)}")
    commits = sorted({r["environment"]["commit"] for r in record["runs"]})
    return "\n".join([*lines, *pseudo_label_table(record), f"\nCommits: {', '.join(commits)}"])


def pseudo_label_table(record: dict) -> list[str]:
    """Lines of a Markdown table of the pseudo-labels, round by round; none where no run tells."""
    told: dict[tuple[str, int], list[dict]] = {}
    for run in record["runs"]:
        for quality in run.get("pseudo_labels", []):
            told.setdefault((run["method"], quality["round"]), []).append(quality)
    lines = [
        f"| {name}, round {number} | {len(all_seeds)} | "
        + " | ".join(mean_std((q[key] for q in all_seeds), 100) for key in ("coverage", "accuracy", "mean_recall"))
        + " |"
        for (name, number), all_seeds in sorted(told.items())
    ]
    head = ["\n| pseudo-labels | seeds | coverage | accuracy | mean recall |", "|---|---|---|---|---|"]
    return [*head, *lines] if lines else []


def write_markdown(folder: Path = RESULTS) -> None:
    """Write the tables of all results in ``folder`` to one file, which the documentation includes."""
    tables = [table(json.loads(path.read_text())) for path in sorted(folder.glob("features-*.json"))]
    (folder / "features.md").write_text("\n\n".join(tables) + "\n")


def plot(record: dict, path: Path) -> None:
    """bACC with its standard deviation; a dashed line at the best possible score, where it is known.

    Oracles, which see labels that nobody has, are grey.
    """
    from matplotlib.figure import Figure

    names = [name for name in METHODS if any(r["method"] == name for r in record["runs"])]
    figure = Figure(figsize=(7, 0.8 + 0.26 * len(names)), layout="constrained")
    ax = figure.subplots()
    for name in names:
        scores = [100 * r["bacc"] for r in record["runs"] if r["method"] == name]
        color = "tab:orange" if METHODS[name].family == "ours" else "tab:blue"
        color = "tab:gray" if METHODS[name].role == "oracle" else color
        ax.errorbar(np.mean(scores), name, xerr=np.std(scores), marker="o", capsize=3, color=color)
    bayes = [p["bayes"] for p in record["problems"].values() if p["bayes"] is not None]
    if bayes:
        ax.axvline(100 * np.mean(bayes), color="black", linestyle="--")
    ax.invert_yaxis()
    ax.grid(alpha=0.3)
    ax.set(xlabel="balanced accuracy (%)", title=f"{record['dataset']}, {record['distribution']}")
    figure.savefig(path, dpi=120)


def update(path: Path, dataset: str, distribution: str, seed: int, methods: list[str], environment: dict) -> dict:
    """Run ``methods`` on one split and merge the results into the file at ``path``."""
    record = {"dataset": dataset, "distribution": distribution, "problems": {}, "runs": []}
    if path.exists():
        record = json.loads(path.read_text())
    problem = load(dataset, seed, distribution)
    record["problems"][str(seed)] = {
        "labeled": np.bincount(problem.y_labeled).tolist(),
        "unlabeled": np.bincount(problem.y_unlabeled).tolist(),
        "n_test": len(problem.y_test),
        "n_features": problem.X_test.shape[1],
        "bayes": problem.bayes,
    }
    for name in methods:
        result = {"method": name, "seed": seed, **run(METHODS[name], problem, seed), "environment": environment}
        others = [r for r in record["runs"] if (r["method"], r["seed"]) != (name, seed)]
        record["runs"] = sorted([*others, result], key=lambda r: (r["method"], r["seed"]))
        write(record, path)
    return record


def write(record: dict, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    head = json.dumps({key: value for key, value in record.items() if key != "runs"})
    runs = ",\n".join(json.dumps(r) for r in record["runs"])  # a line each keeps diffs readable
    path.write_text(f'{head[:-1]}, "runs": [\n{runs}\n]}}\n')


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__.split(":")[0])
    parser.add_argument("--dataset", nargs="+", choices=PROBLEMS, required=True)
    parser.add_argument("--distribution", nargs="+", choices=DISTRIBUTIONS, default=["consistent"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, counted from 0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plot", action="store_true", help="write a PNG beside each result")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore", ConvergenceWarning)
    env = {**environment(), "threads": args.threads}
    with threadpool_limits(args.threads):
        for dataset in args.dataset:
            for distribution in args.distribution:
                path = RESULTS / f"features-{dataset}-{distribution}.json"
                for seed in range(args.seeds):
                    record = update(path, dataset, distribution, seed, args.methods, env)
                print(table(record), end="\n\n", flush=True)
                write_markdown()
                if args.plot:
                    plot(record, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
