"""What each part of the method is worth: ``python -m benchmarks.ablation --seeds 5``, one part off at a time."""

import argparse
import json
from collections import defaultdict
from contextlib import ExitStack
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from benchmarks import image_data
from benchmarks.data import DISTRIBUTIONS, PROBLEMS, Problem, load
from benchmarks.features import RESULTS, environment, mean_std, write
from benchmarks.scores import balanced_accuracy, class_recalls, geometric_mean
from skdmlpl import DMLPseudoLabelClassifier, _label_spreading, _mlp, _objectives, _rounds, _training
from skdmlpl._prior import NeighborReport
from skdmlpl.interfaces import PseudoLabels
from skdmlpl.selectors import ConfidenceSelector, NearestNeighborSelector


class Variant(NamedTuple):
    """Parameters of the estimator, and replacements of what has no parameter: (module, name, replacement).

    One network where nothing else is said, as the default's two or three take longer.
    """

    params: dict[str, Any] = {}
    patches: tuple[tuple[Any, str, Any], ...] = ()


def _even_prior(places: Any, y: np.ndarray, n_classes: int, generator: Any) -> NeighborReport:
    told = _consult_neighbors(places, y, n_classes, generator)
    return told._replace(prior=np.full(n_classes, 1 / n_classes))


def _all_trust(places: Any, y: np.ndarray, n_classes: int, generator: Any) -> NeighborReport:
    return _consult_neighbors(places, y, n_classes, generator)._replace(trust=1.0)


def _unnormalized_labels(y: np.ndarray, n_classes: int) -> np.ndarray:
    return (y[:, None] == np.arange(n_classes)).astype(np.float32)


def _most_reliable_of_all(labels: np.ndarray, weights: np.ndarray, share: float) -> np.ndarray:
    """Take the most reliable share of all rows together, whatever their class."""
    return np.argsort(-weights, kind="stable")[: int(np.ceil(share * len(weights)))]


def _admit_labels_alone(proposed: PseudoLabels, y: np.ndarray, share: float) -> PseudoLabels:
    return _admit(proposed._replace(proba=None), y, share)


def _rows_alone(self: nn.Module, features: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Look for neighbours by nothing that was learned."""
    n_learned = features.shape[1] - (len(self.mean) if len(self.mean) >= _mlp.MANY_COLUMNS else 0)
    return _neighbor_features(self, features, rows)[:, n_learned:]


VARIANTS = {
    "the method": Variant(),
    "no unlabelled rows": Variant({"max_rounds": 0}),
    "no neighbours (network's confidence alone)": Variant({"selector": ConfidenceSelector()}),
    "no graph (clusters of labelled rows vote)": Variant({"selector": NearestNeighborSelector()}),
    "no weights of columns": Variant(
        patches=((_mlp._StandardizedTable, "adapt_to_labels", lambda self, batches, n_classes: None),)
    ),
    "no rows beside their embeddings": Variant(
        patches=((_mlp._StandardizedTable, "neighbor_features", lambda self, features, rows: features),)
    ),
    "no embeddings beside the rows": Variant(patches=((_mlp._StandardizedTable, "neighbor_features", _rows_alone),)),
    "no class normalisation of votes": Variant(
        patches=((_label_spreading, "_class_normalized_labels", _unnormalized_labels),)
    ),
    "no class quotas": Variant(patches=((_rounds, "_most_reliable", _most_reliable_of_all),)),
    "no soft targets (the label alone)": Variant(patches=((_rounds, "admit", _admit_labels_alone),)),
    "no doubt of neighbours": Variant(patches=((_rounds, "consult_neighbors", _all_trust),)),
    "no prior estimate": Variant(patches=((_rounds, "consult_neighbors", _even_prior),)),
    "no prior estimate by rows (by the network instead)": Variant(
        patches=((_rounds, "_tell_by_rows", lambda *arguments: None),)
    ),
    "no worth of recall (the most right labels)": Variant(patches=((_rounds, "_WORTH_OF_RECALL", 0.0),)),
    "no metric loss": Variant({"metric_weight": 0.0}),
    "no logit adjustment": Variant(patches=((_objectives, "_adjustment", torch.zeros_like),)),
    "no mixup": Variant(patches=((_objectives, "_mix", lambda batch, partner, share: batch),)),
    "no label smoothing": Variant(patches=((_objectives, "_SMOOTHING", 0.0),)),
    "no favour for given labels": Variant(patches=((_rounds, "_PSEUDO_SHARE", 1.0),)),
    "no mean of the weights": Variant(
        patches=((_training, "WeightAverage", lambda network, memory: _WeightAverage(network, memory=1.0)),)
    ),
    "one round": Variant({"max_rounds": 1}),
    "nothing, but two networks": Variant({"n_networks": 2}),
    "no unlabelled rows, but two networks": Variant({"max_rounds": 0, "n_networks": 2}),
}
_consult_neighbors = _rounds.consult_neighbors
_neighbor_features = _mlp._StandardizedTable.neighbor_features
_WeightAverage = _training.WeightAverage
_admit = _rounds.admit

# Images take too long for all variants. What is left out there is scored on spare training images, not on the test set.
IMAGES = "cifar10-images"


def load_images(seed: int, distribution: str) -> Problem:
    split = image_data.split_of("cifar10", unlabeled_distribution=distribution)
    X, y, y_unlabeled, X_test, y_test = image_data.load(split, seed, validation=True)
    given = y >= 0
    return Problem(X[given], y[given], X[~given], y_unlabeled, X_test, y_test, None)


def run(variant: Variant, dataset: str, distribution: str, seed: int) -> dict[str, float]:
    problem = load_images(seed, distribution) if dataset == IMAGES else load(dataset, seed, distribution)
    with ExitStack() as stack:
        for module, name, replacement in variant.patches:
            stack.enter_context(mock.patch.object(module, name, replacement))
        model = DMLPseudoLabelClassifier(**{"n_networks": 1, **variant.params}, random_state=seed)
        model.fit(problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_unlabeled)
    recalls = class_recalls(problem.y_test, model.predict(problem.X_test))
    return {"bacc": balanced_accuracy(recalls), "gm": geometric_mean(recalls)}


def table(record: dict) -> str:
    """Markdown table: bACC of the whole method, and differences from it, seed by seed, of each variant."""
    scores = defaultdict(dict)  # of each variant in each column, by seed
    for r in record["runs"]:
        scores[r["variant"], r["dataset"], r["distribution"]][r["seed"]] = r["bacc"]
    columns = sorted({tuple(where) for _, *where in scores})

    def title(dataset: str, distribution: str) -> str:
        return f"{dataset}, {distribution} ({len(scores['the method', dataset, distribution])})"

    def cell(name: str, dataset: str, distribution: str) -> str:
        own, whole = scores[name, dataset, distribution], scores["the method", dataset, distribution]
        if name == "the method":
            return mean_std(own.values(), 100)
        return mean_std((score - whole[seed] for seed, score in own.items()), 100)

    measured = {name for name, *_ in scores}
    lines = [
        "**One part off at a time**\n",
        "Balanced accuracy of the method with one network; below it, the difference that leaving out one part makes, "
        "seed by seed. In brackets, the number of seeds.\n",
        "| left out | " + " | ".join(title(*column) for column in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    lines += [
        f"| {name} | " + " | ".join(cell(name, *column) for column in columns) + " |"
        for name in VARIANTS
        if name in measured
    ]
    commits = sorted({r["environment"]["commit"] for r in record["runs"]})
    return "\n".join([*lines, f"\nCommits: {', '.join(commits)}"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.split(":")[0])
    parser.add_argument(
        "--dataset", nargs="+", choices=[*PROBLEMS, IMAGES], default=["digits", "cifar10-features", "manifolds"]
    )
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all; the whole method always"
    )
    parser.add_argument("--distribution", choices=DISTRIBUTIONS, default="consistent")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=0, help="the seeds are counted from here (0)")
    args = parser.parse_args()

    torch.set_num_threads(1)
    path = RESULTS / "ablation.json"
    record = json.loads(path.read_text()) if path.exists() else {"benchmark": "ablation", "runs": []}
    env = environment()
    with threadpool_limits(1):
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            for dataset in args.dataset:
                for name in dict.fromkeys(["the method", *args.variants]):
                    key = {"variant": name, "dataset": dataset, "distribution": args.distribution, "seed": seed}
                    scores = run(VARIANTS[name], dataset, args.distribution, seed)
                    record["runs"] = [r for r in record["runs"] if any(r[k] != v for k, v in key.items())]
                    record["runs"].append({**key, **scores, "environment": env})
                    write(record, path)
    (RESULTS / "ablation.md").write_text(table(record) + "\n")
    print(table(record))


if __name__ == "__main__":
    main()
