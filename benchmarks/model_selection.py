"""Does cross-validation pick a good setting? ``python -m benchmarks.model_selection --dataset digits --seeds 5``.

Every candidate of a grid is scored in several ways of cross-validation on the same ``X`` and ``y``, in which -1 marks
the unlabelled rows, and on the test rows. A way is as good as the test score of the candidate it puts first.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.model_selection import GridSearchCV, KFold, ParameterGrid, StratifiedKFold
from threadpoolctl import threadpool_limits

from benchmarks.data import PROBLEMS, load
from benchmarks.features import RESULTS, environment, mean_std
from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.model_selection import LabeledStratifiedKFold, stack_unlabeled

SPLITTERS = {splitter.__name__: splitter for splitter in (LabeledStratifiedKFold, StratifiedKFold, KFold)}
SCORINGS = ("balanced_accuracy", "accuracy")
# Without rounds there is no graph, so no number of neighbours to choose.
GRID = [
    {"max_rounds": [0], "margin": [0.1, 0.5], "metric_weight": [0.05, 0.5]},
    {"max_rounds": [3], "margin": [0.1, 0.5], "metric_weight": [0.05, 0.5], "n_neighbors": [3, 10, 50]},
]


def scores(X: np.ndarray, y: np.ndarray, cv, seed: int, args: argparse.Namespace) -> dict[str, list[float]]:
    """Mean score of each candidate over the folds, by the name of the scoring."""
    estimator = DMLPseudoLabelClassifier(random_state=seed, **args.params)
    search = GridSearchCV(
        estimator, args.grid, cv=cv, scoring=SCORINGS, refit=False, n_jobs=args.jobs, error_score="raise"
    ).fit(X, y)
    return {name: search.cv_results_[f"mean_test_{name}"].tolist() for name in SCORINGS}


def run(dataset: str, seed: int, args: argparse.Namespace) -> dict:
    """Score all candidates on one split of the data, in every way."""
    problem = load(dataset, seed)
    X, y = stack_unlabeled(problem.X_labeled, problem.y_labeled, problem.X_unlabeled)
    start = time.perf_counter()
    by_splitter = {
        name: scores(X, y, splitter(args.folds, shuffle=True, random_state=seed), seed, args)
        for name, splitter in SPLITTERS.items()
    }
    # The test score is that of one more split: all rows above train, the test rows test.
    split = [(np.arange(len(X)), len(X) + np.arange(len(problem.X_test)))]
    rows, labels = np.concatenate([X, problem.X_test]), np.concatenate([y, problem.y_test])
    test = scores(rows, labels, split, seed, args)
    return {"seed": seed, "seconds": round(time.perf_counter() - start, 1), "test": test, "cv": by_splitter}


def verdict(run: dict, splitter: str, scoring: str) -> dict[str, float]:
    """How the candidate that one way of cross-validation puts first does on the test rows, in percent."""
    test, found = np.array(run["test"]["balanced_accuracy"]), np.array(run["cv"][splitter][scoring])
    picked = found.argmax()
    return {
        "picked": 100 * test[picked],
        "regret": 100 * (test.max() - test[picked]),
        "bias": 100 * (found[picked] - run["test"][scoring][picked]),
        "rank correlation": spearmanr(found, test).statistic,
    }


def table(record: dict) -> str:
    """Markdown table, mean ± standard deviation over the seeds."""
    runs = record["runs"]
    test = 100 * np.array([r["test"]["balanced_accuracy"] for r in runs])  # (n_seeds, n_candidates)
    lines = [
        f"**Choosing parameters by cross-validation: {record['dataset']}, {len(runs)} seeds, "
        f"{len(record['candidates'])} candidates, {record['folds']} folds**\n",
        f"Test bACC of the best candidate {mean_std(test.max(axis=1))}, of the mean candidate "
        f"{mean_std(test.mean(axis=1))}, of the worst {mean_std(test.min(axis=1))}. *Short of the best* is what "
        "the candidate picked falls short of the best in test bACC. *Score less test score* compares the "
        "cross-validated score of the candidate picked with the same score on the test rows. The rank correlation is "
        "that of cross-validated score and test bACC over the candidates.\n",
        "| folds, score | bACC of the candidate picked | short of the best | at most | score less test score "
        "| rank correlation |",
        "|---|---|---|---|---|---|",
    ]
    for splitter in SPLITTERS:
        for scoring in SCORINGS:
            verdicts = [verdict(r, splitter, scoring) for r in runs]
            column = {key: [v[key] for v in verdicts] for key in verdicts[0]}
            cells = [
                mean_std(column["picked"]),
                mean_std(column["regret"]),
                f"{max(column['regret']):.1f}",
                mean_std(column["bias"]),
                mean_std(column["rank correlation"], digits=2),
            ]
            lines.append(f"| {splitter}, {scoring} | {' | '.join(cells)} |")
    commits = sorted({r["environment"]["commit"] for r in runs})
    return "\n".join([*lines, f"\nCommits: {', '.join(commits)}"])


def update(path: Path, dataset: str, seed: int, args: argparse.Namespace, env: dict) -> dict:
    """Run one seed and merge the result into the file at ``path``, if that is of the same candidates and folds."""
    head = {
        "dataset": dataset,
        "folds": args.folds,
        "params": args.params,
        "candidates": list(ParameterGrid(args.grid)),
    }
    earlier = json.loads(path.read_text()) if path.exists() else {}
    same = all(earlier.get(key) == value for key, value in head.items())
    runs = [r for r in earlier["runs"] if r["seed"] != seed] if same else []
    runs = sorted([*runs, {**run(dataset, seed, args), "environment": env}], key=lambda r: r["seed"])
    path.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(r) for r in runs)  # a line each keeps diffs readable
    path.write_text(f'{json.dumps(head)[:-1]}, "runs": [\n{lines}\n]}}\n')
    return {**head, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_selection", description=__doc__.split("?")[0])
    parser.add_argument("--dataset", nargs="+", choices=PROBLEMS, required=True)
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, counted from 0")
    # The rarest class of the long-tailed digits has three labelled rows.
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--grid", type=json.loads, default=GRID, help="param_grid of GridSearchCV, as JSON")
    parser.add_argument("--params", type=json.loads, default={}, help="other parameters, as JSON")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    # The rarest classes are in few test folds, and a single row in none: the tables show what comes of it.
    warnings.filterwarnings("ignore", "y_pred contains classes not in y_true", UserWarning)
    warnings.filterwarnings("ignore", ".* have a single labelled row", UserWarning)
    warnings.filterwarnings("ignore", "The least populated class in y has only", UserWarning)
    env = {**environment(), "threads": args.threads}
    with threadpool_limits(args.threads):
        for dataset in args.dataset:
            path = args.output / f"model_selection-{dataset}.json"
            for seed in range(args.seeds):
                record = update(path, dataset, seed, args, env)
            print(table(record), end="\n\n", flush=True)
    tables = [table(json.loads(path.read_text())) for path in sorted(args.output.glob("model_selection-*.json"))]
    (args.output / "model_selection.md").write_text("\n\n".join(tables) + "\n")


if __name__ == "__main__":
    main()
