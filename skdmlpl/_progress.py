"""Runs the rounds, and tells scikit-learn's callbacks, and whoever watches the terminal, how a fit goes."""

from collections.abc import Callable, Iterator
from time import perf_counter

from sklearn.base import BaseEstimator
from sklearn.callback import CallbackContext

from skdmlpl._rounds import Plan
from skdmlpl.interfaces import RoundRecord

__all__ = ["print_choice", "run_rounds", "step_printer"]

# Whoever watches is told at least so often, in seconds, that a long round goes on.
_LONGEST_SILENCE = 30


def run_rounds(
    rounds: Iterator[RoundRecord],
    n_rounds: int,
    *,
    estimator: BaseEstimator,
    context: CallbackContext,
    training_data: dict,
    fitted_attributes: Callable[[], dict],
) -> list[RoundRecord]:
    """Run rounds 0 to ``n_rounds``, or fewer where a callback asks to stop, and return their records.

    Parameters
    ----------
    rounds : iterator of RoundRecord
        The rounds, from round 0 on; asking for a record runs one.
    n_rounds : int
        Number of the last round.
    estimator : estimator
        Its class and ``verbose`` are read.
    context : CallbackContext
        The task of the whole fit; each round becomes a subtask.
    training_data : dict
        ``X`` and ``y`` for the callbacks, or functions that return them.
    fitted_attributes : callable
        Returns the attributes that make the estimator a fitted one, as if this round had been the last.
    """
    records = []
    for number in range(n_rounds + 1):
        task = context.subcontext(task_name="round").call_on_fit_task_begin(estimator=estimator, **training_data)
        record = next(rounds)
        records.append(record)
        if estimator.verbose:
            print(f"[{type(estimator).__name__}] round {number} of {n_rounds}: {_summary(record)}")
        if task.call_on_fit_task_end(estimator=estimator, **training_data, reconstruction_attributes=fitted_attributes):
            break
    return records


def print_choice(estimator: BaseEstimator, plan: Plan) -> None:
    """Print how a small table is trained, where ``estimator`` is verbose."""
    if estimator.verbose:
        numbers = f"n_steps={plan.n_steps}, learning_rate={plan.learning_rate:g}, weight_decay={plan.weight_decay:g}"
        print(f"[{type(estimator).__name__}] small table: {numbers}")


def step_printer(estimator: BaseEstimator) -> Callable[[int, int], None] | None:
    """Return what prints, now and then, how far a round is: a function of the steps done, and of how many there are."""
    if not estimator.verbose:
        return None
    last = 0.0

    def print_step(step: int, n_steps: int) -> None:
        nonlocal last
        now = perf_counter()
        if step == 1:
            last = now
        elif now - last >= _LONGEST_SILENCE and step < n_steps:
            last = now
            print(f"[{type(estimator).__name__}] step {step} of {n_steps} in this round")

    return print_step


def _summary(record: RoundRecord) -> str:
    n_rows = len(record.pseudo_labels.labels)
    said = [f"{record.n_pseudo_labeled} of {n_rows} rows pseudo-labelled"]
    if record.n_pseudo_labeled:
        said.append(f"mean weight {record.mean_weight:.2f}")
    said.append(f"classification loss {record.classification_loss:.3f}")
    if record.metric_loss == record.metric_loss:  # nan where the loss is left out
        said.append(f"metric loss {record.metric_loss:.3f}")
    said.append(f"{record.seconds:.1f} s")
    return ", ".join(said)
