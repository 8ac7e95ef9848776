"""Compare methods on long-tailed images: ``python -m benchmarks.images --dataset cifar10 --preset cpu --seeds 3``."""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from threadpoolctl import threadpool_limits
from torch import nn

from benchmarks.data import DISTRIBUTIONS, HERE
from benchmarks.features import RESULTS, diagnostics, environment, mean_std, pseudo_label_table, write
from benchmarks.image_baselines import FixMatch, LabelledOnly
from benchmarks.image_data import N_CLASSES, ImageProblem, Role, Split, fake, frozen_features, load, split_of
from benchmarks.scores import balanced_accuracy, class_recalls, geometric_mean, oracle_gap_closed
from benchmarks.watch import FORWARD_SHARE, Watch, WeightTrail
from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.backbones import torchvision_backbone, wide_resnet28_2

# Image passes at which --curve measures.
CURVE = (62_500, 125_000, 250_000, 500_000, 1_000_000)


class Method(NamedTuple):
    make: Callable[..., ClassifierMixin]
    role: Role


METHODS = {
    "ours": Method(DMLPseudoLabelClassifier, "semi-supervised"),
    "ours-supervised": Method(partial(DMLPseudoLabelClassifier, max_rounds=0), "supervised"),
    "ours-oracle": Method(partial(DMLPseudoLabelClassifier, max_rounds=0), "oracle"),
    "supervised": Method(partial(LabelledOnly, batch_size=128, weight_decay=1.0), "supervised"),
    "supervised-la": Method(partial(LabelledOnly, batch_size=128, weight_decay=1.0, adjust=True), "supervised"),
    "fixmatch": Method(FixMatch, "semi-supervised"),
    "fixmatch-la": Method(partial(FixMatch, adjust=True), "semi-supervised"),
}
OURS = tuple(name for name in METHODS if name.startswith("ours"))


class Preset(NamedTuple):
    """What is set beside the defaults, and which networks are scored.

    ``n_steps`` counts the gradient steps of a whole fit. None leaves them to the defaults, and gives the baselines the
    image passes that our method takes with these. With ``n_evaluations``, a fit is cut into ``n_intervals``, and the
    exponential means of the weights (decay 0.999) at the last ends of these are scored; else what ``fit`` leaves.
    """

    params: Callable[[str, str], dict[str, Any]]  # of the method and the data set
    n_steps: int | None = None
    n_intervals: int = 1
    n_evaluations: int = 0


def _published_params(method: str, dataset: str) -> dict[str, Any]:
    if dataset.endswith("imagenet127"):
        from torchvision.models import resnet50

        backbone = torchvision_backbone(resnet50)
    else:
        backbone = wide_resnet28_2
    # Published: 64 labelled and 128 other images a step.
    return {"backbone": backbone, "batch_size": 192 if method in OURS else 64, "weight_decay": 0.05}


PRESETS = {
    "cpu": Preset(lambda method, dataset: {}),
    "paper": Preset(_published_params, n_steps=250_000, n_intervals=500, n_evaluations=20),
}


class Cost(NamedTuple):
    """What a fit takes: gradient steps and image passes for each of ``n_steps``, and image passes for each image."""

    steps: float
    passes: float
    passes_per_image: float


@cache
def cost(method: str, **params: Any) -> Cost:
    """Measure the cost with a few images and next to no network: what a fit makes of ``n_steps`` is its own affair."""
    images = np.random.default_rng(0).integers(256, size=(1200, 3, 4, 4), dtype=np.uint8)
    classes = np.arange(600) % 10
    problem = ImageProblem(images, np.concatenate([classes, np.full(600, -1)]), classes, images[:10], classes[:10])
    X, y = problem.training_rows(METHODS[method].role)
    watches = []
    for n_steps in (8, 16):
        backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 8))
        with Watch() as watch:
            METHODS[method].make(backbone=backbone, n_steps=n_steps, random_state=0, **params).fit(X, y)
        watches.append(watch)
    short, long = watches
    passes = (long.passes - short.passes) / 8
    return Cost((long.n_steps - short.n_steps) / 8, passes, (short.passes - 8 * passes) / len(X))


class Fit(NamedTuple):
    """A method set up for a problem, and what watches it."""

    model: ClassifierMixin
    watch: Watch


def set_up(
    method: str,
    preset: str,
    dataset: str,
    seed: int,
    *,
    n_images: int,
    passes: float | None = None,
    n_steps: int | None = None,
    most_evaluations: int = 100,
    **params: Any,
) -> Fit:
    """Set up a method for ``passes`` image passes or ``n_steps`` gradient steps in all; None for its defaults."""
    params = {**PRESETS[preset].params(method, dataset), "random_state": seed, **params}
    every = 0
    if passes is not None or n_steps is not None:
        # An image is one pass in any network.
        per = cost(method, **{key: value for key, value in params.items() if key not in ("backbone", "random_state")})
        if passes is not None:
            n_steps = per.steps * (passes - per.passes_per_image * n_images) / per.passes
        params["n_steps"] = int(n_steps / per.steps)
        if params["n_steps"] < 1:
            amount = f"{n_steps} steps" if passes is None else f"{passes:,.0f} image passes"
            raise SystemExit(f"{amount} are too few for {method} on {n_images:,} images.")
        every = n_steps // PRESETS[preset].n_intervals
    n_last = min(PRESETS[preset].n_evaluations, most_evaluations)
    watch = WeightTrail(every=max(1, int(every)), n_last=n_last) if n_last else Watch()
    return Fit(METHODS[method].make(**params), watch)


def run(fit: Fit, problem: ImageProblem, role: Role) -> dict:
    """Fit once and score on the test images."""
    model, watch = fit
    config = " ".join(repr(model).split())
    X, y = problem.training_rows(role)
    start = time.perf_counter()
    with watch:
        model.fit(X, y)
    seconds = time.perf_counter() - start
    networks = list(watch.networks) if isinstance(watch, WeightTrail) else [model.network_]
    recalls = np.array([_recalls(model, network, problem) for network in networks])
    return {
        "bacc": float(np.mean([balanced_accuracy(r) for r in recalls])),
        "gm": float(np.mean([geometric_mean(r) for r in recalls])),
        "recalls": recalls.mean(axis=0).round(4).tolist(),
        "n_evaluations": len(networks),
        "passes": round(watch.passes),
        "steps": watch.n_steps,
        "seconds": round(seconds, 2),
        **(diagnostics(model, problem) if role == "semi-supervised" else {}),
        "config": config,
    }


def _recalls(model: ClassifierMixin, network: nn.Module, problem: ImageProblem) -> np.ndarray:
    fitted = model.network_
    model.network_ = network.to(fitted.device)
    recalls = class_recalls(problem.y_test, model.predict(problem.X_test))
    model.network_ = fitted
    return recalls


def update(
    path: Path,
    split: Split,
    preset: str,
    seed: int,
    methods: Sequence[str],
    *,
    budgets: Sequence[int] = (),
    budgets_of: Sequence[str] = (),
    pixels: int | None = None,
    validation: bool = False,
    environment: dict,
) -> dict:
    """Run ``methods`` on one split and merge the results into the file at ``path``.

    ``budgets`` are image passes, of the methods ``budgets_of``; the others run once, as the preset has it.
    """
    record = {"split": split.name, "preset": preset, "pixels": pixels, "problems": {}, "runs": []}
    if path.exists():
        record = json.loads(path.read_text())
    problem = load(split, seed, validation)
    record["problems"][str(seed)] = {
        "labeled": np.bincount(problem.y[problem.y >= 0]).tolist(),
        "unlabeled": np.bincount(problem.y_unlabeled).tolist(),
        "n_test": len(problem.y_test),
    }
    extraction = 0.0
    if pixels is not None:
        problem, extraction = frozen_features(problem, f"{path.stem}-{seed}{'-validation' * validation}", pixels)
    # In the order of METHODS: the baselines' passes are those that ours took.
    for method in (name for name in METHODS if name in methods):
        role = METHODS[method].role
        n_images = problem.n_images(role)
        for budget in budgets if method in budgets_of else [None]:
            passes = budget
            if budget is None and method not in OURS and PRESETS[preset].n_steps is None:
                passes = passes_of_ours(record, seed)
            n_steps = PRESETS[preset].n_steps if passes is None else None
            fit = set_up(method, preset, split.dataset, seed, n_images=n_images, passes=passes, n_steps=n_steps)
            result = {"method": method, "seed": seed, "budget": budget, **run(fit, problem, role)}
            if pixels is not None:  # the network that passes images is the frozen one, and each passes it once
                result["passes"] = round(FORWARD_SHARE * n_images)
                result["seconds"] = round(result["seconds"] + extraction, 2)
            result["environment"] = environment
            keys = ("method", "seed", "budget")
            others = [r for r in record["runs"] if any(r[key] != result[key] for key in keys)]
            record["runs"] = sorted([*others, result], key=lambda r: (r["method"], r["seed"], r["budget"] or 0))
            write(record, path)
    return record


def passes_of_ours(record: dict, seed: int) -> float:
    """Image passes that our method took with its defaults, on this split or else on the average of the others."""
    passes = {r["seed"]: r["passes"] for r in record["runs"] if r["method"] == "ours" and r["budget"] is None}
    if not passes:
        raise SystemExit(
            "The baselines get the image passes that our method takes: run it first (--methods ours ...), or name the "
            "passes (--passes 250000)."
        )
    return passes.get(seed, float(np.mean(list(passes.values()))))


class Group(NamedTuple):
    """The runs of a method with one budget, over the seeds."""

    method: str
    budget: int | None
    runs: list[dict]

    def mean(self, key: str) -> float:
        return float(np.mean([r[key] for r in self.runs]))


def groups(record: dict) -> list[Group]:
    """Groups of runs by method, and by image passes within a method."""
    found: dict[tuple[str, int | None], list[dict]] = {}
    for r in record["runs"]:
        found.setdefault((r["method"], r["budget"]), []).append(r)
    order = list(METHODS)
    as_groups = [Group(*key, runs) for key, runs in found.items()]
    return sorted(as_groups, key=lambda g: (order.index(g.method), g.mean("passes")))


def gaps(record: dict) -> list[float]:
    """Oracle gap closed by our method, in each seed in which both its ends were measured."""
    score = {(r["method"], r["seed"]): r["bacc"] for r in record["runs"] if r["budget"] is None}
    seeds = [seed for name, seed in score if name == "ours" and all((end, seed) in score for end in OURS)]
    return [oracle_gap_closed(*(score[name, seed] for name in OURS)) for seed in seeds]


def heading(record: dict) -> str:
    parts = [record["split"], f"preset {record['preset']}"]
    if record["pixels"] is not None:
        parts.append(f"features of a frozen EfficientNet-Lite0 at {record['pixels']} pixels")
    return ", ".join(parts)


def table(record: dict) -> str:
    """Markdown table, mean ± standard deviation over the seeds."""
    lines = [
        f"**{heading(record)}**\n",
        "| method | image passes | seeds | bACC | GM | seconds |",
        "|---|---|---|---|---|---|",
    ]
    all_groups = groups(record)
    for group in all_groups:
        cells = [
            f"{group.mean('passes'):,.0f}",
            str(len(group.runs)),
            mean_std((r["bacc"] for r in group.runs), 100),
            mean_std((r["gm"] for r in group.runs), 100),
            mean_std((r["seconds"] for r in group.runs), digits=0),
        ]
        lines.append(f"| {group.method} | {' | '.join(cells)} |")
    lines += [f"\n{note}" for note in _notes(record, all_groups)]
    as_preset = {"runs": [r for r in record["runs"] if r["budget"] is None]}
    commits = sorted({f"{r['environment']['commit']} ({r['environment']['threads']} threads)" for r in record["runs"]})
    return "\n".join([*lines, *pseudo_label_table(as_preset), f"\nCommits: {', '.join(commits)}"])


def _notes(record: dict, all_groups: list[Group]) -> list[str]:
    notes = []
    closed = gaps(record)
    if closed:
        notes.append(f"Oracle gap closed by ours: {mean_std(closed, digits=2)}")
    ours = next((g for g in all_groups if (g.method, g.budget) == ("ours", None)), None)
    labels_only = [g for g in all_groups if METHODS[g.method].role == "supervised"]
    if ours is not None:
        # One in a hundred more, as passes come in whole steps. Few seeds may be lucky ones.
        most = 1.01 * ours.mean("passes")
        labels_only = [g for g in labels_only if g.mean("passes") <= most and len(g.runs) >= len(ours.runs)]
        best = max(labels_only, key=lambda g: g.mean("bacc"), default=None)
        if best is not None:
            notes.append(
                f"Labels only, at its best within the passes of ours: {100 * best.mean('bacc'):.1f} "
                f"({best.method}, {best.mean('passes'):,.0f} passes). It was picked by test scores, in its favour."
            )
    return notes


def write_markdown(folder: Path = RESULTS) -> None:
    """Write the tables of all results in ``folder`` to one file, which the documentation includes."""
    tables = [table(json.loads(path.read_text())) for path in sorted(folder.glob("images-*.json"))]
    (folder / "images.md").write_text("\n\n".join(tables) + "\n")


def plot(record: dict, path: Path) -> None:
    """bACC against image passes, one curve a method, with its standard deviation over the seeds."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, NullFormatter

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    curves: dict[str, list[Group]] = {}
    for group in groups(record):
        curves.setdefault(group.method, []).append(group)
    for method, points in curves.items():
        passes = [point.mean("passes") for point in points]
        scores = [[100 * r["bacc"] for r in point.runs] for point in points]
        ours = {"linewidth": 2.5, "zorder": 3} if method in OURS else {}
        ax.errorbar(
            passes, [np.mean(s) for s in scores], [np.std(s) for s in scores],
            marker="o", capsize=3, label=method, **ours,
        )  # fmt: skip
    ax.set(xscale="log", xlabel="image passes", ylabel="balanced accuracy (%)", title=heading(record))
    ax.set_xticks(CURVE)
    ax.xaxis.set_major_formatter(EngFormatter())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.grid(alpha=0.3)
    ax.legend()
    figure.savefig(path, dpi=120)


def dry_run(dataset: str, preset: str, methods: Sequence[str], size: int, n_steps: int = 20) -> None:
    """Run each method for a few steps of few images on noise of the data set's shape and classes."""
    problem = fake(dataset, 224 if dataset == "imagenet127" else size)
    for method in methods:
        role = METHODS[method].role
        small = {"n_images": problem.n_images(role), "batch_size": 4, "most_evaluations": 2}
        fit = set_up(method, preset, dataset, 0, n_steps=n_steps, **small)
        result = run(fit, problem, role)
        shape = " x ".join(map(str, problem.X.shape[1:]))
        print(
            f"{dataset} ({shape}, {N_CLASSES[dataset]} classes), {preset}, {method}: {result['steps']} steps, "
            f"{result['passes']} passes, {result['n_evaluations']} evaluations, {result['seconds']:.1f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.images", description=__doc__.split(":")[0])
    parser.add_argument("--dataset", nargs="+", choices=N_CLASSES, required=True)
    parser.add_argument("--n1", type=int, help="labelled images of the largest class")
    parser.add_argument("--m1", type=int, help="unlabelled images of the largest class")
    parser.add_argument("--gamma", type=float, help="labelled images of the largest class over those of the smallest")
    parser.add_argument("--gamma-u", type=float, help="the same of the unlabelled images; default: as --gamma")
    parser.add_argument("--unlabeled", nargs="+", choices=DISTRIBUTIONS, default=["consistent"])
    parser.add_argument("--size", type=int, choices=(32, 64), default=32, help="pixels of small-imagenet127")
    parser.add_argument("--preset", nargs="+", choices=PRESETS, default=["cpu"])
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=0, help="the seeds are counted from here (0)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plot", action="store_true", help="write a PNG beside each result")
    parser.add_argument("--validation", action="store_true", help="score on spare training images; kept in the cache")
    parser.add_argument(
        "--pretrained", type=int, nargs="?", const=112, metavar="PIXELS",
        help="ours on features of a frozen EfficientNet-Lite0, from images of PIXELS x PIXELS (112)",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="20 steps on noise of the same shape; nothing is kept")
    budgets = parser.add_mutually_exclusive_group()
    budgets.add_argument("--passes", type=int, nargs="+", help="image passes of the baselines; default: as ours")
    budgets.add_argument(
        "--curve", action="store_true", help="all methods with " + ", ".join(map("{:,}".format, CURVE))
    )
    args = parser.parse_args()

    methods = args.methods or list(OURS if args.pretrained else METHODS)
    if args.pretrained and not set(methods) <= set(OURS):
        parser.error("--pretrained is for tables of features, and the baselines are for images")
    if args.pretrained and (args.curve or args.passes or set(args.preset) != {"cpu"}):
        parser.error("--pretrained goes with the defaults only")
    if args.pretrained and any(name.endswith("imagenet127") for name in args.dataset):
        parser.error("the pretrained network has seen the labels of imagenet127")
    torch.set_num_threads(args.threads)
    with threadpool_limits(args.threads):
        if args.dry_run:
            for dataset in args.dataset:
                for preset in args.preset:
                    dry_run(dataset, preset, methods, args.size)
            return
        budgets_of = methods if args.curve else [name for name in methods if args.passes and name not in OURS]
        _measure(args, methods, CURVE if args.curve else args.passes or (), budgets_of)


def _measure(
    args: argparse.Namespace, methods: Sequence[str], budgets: Sequence[int], budgets_of: Sequence[str]
) -> None:
    env = {**environment(), "threads": args.threads}
    folder = HERE / "cache" if args.validation else RESULTS
    for dataset in args.dataset:
        for distribution in args.unlabeled:
            split = split_of(
                dataset,
                size=args.size,
                n_labeled=args.n1,
                n_unlabeled=args.m1,
                imbalance_ratio=args.gamma,
                imbalance_ratio_unlabeled=args.gamma_u,
                unlabeled_distribution=distribution,
            )
            for preset in args.preset:
                features = [f"lite0-{args.pretrained}"] if args.pretrained else []
                path = folder / f"images-{'-'.join([*split.name.split(), preset, *features])}.json"
                for seed in range(args.first_seed, args.first_seed + args.seeds):
                    record = update(
                        path,
                        split,
                        preset,
                        seed,
                        methods,
                        budgets=budgets,
                        budgets_of=budgets_of,
                        pixels=args.pretrained,
                        validation=args.validation,
                        environment=env,
                    )
                print(table(record), end="\n\n", flush=True)
                write_markdown(folder)
                if args.plot:
                    plot(record, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
