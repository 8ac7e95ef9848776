"""The choice between plans: what is held out, what is compared, and which one wins."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skdmlpl._cross_validation import choose_plan
from skdmlpl._rounds import Plan

PLAN = Plan(
    n_rounds=0,
    n_steps=1,
    n_later_steps=1,
    batch_size=32,
    learning_rate=1e-3,
    weight_decay=0.0,
    mixup_alpha=0.2,
    metric_weight=0.0,
)
PLANS = [PLAN, replace(PLAN, n_steps=2)]
Y = np.repeat([0, -1, 1, 2, 3], [20, 5, 7, 2, 1])


def choose(fit_and_classify, y=Y, seed=0, plans=PLANS):
    return choose_plan(plans, y, fit_and_classify, torch.Generator().manual_seed(seed))


def folds_of(y, seed=0):
    """Return the labels trained on and the rows held out, in the order asked for, of each plan."""
    asked = {plan: [] for plan in PLANS}

    def fit_and_classify(plan, known, held_out):
        asked[plan].append((known.copy(), held_out))
        return np.zeros((len(held_out), 4))

    chosen = choose(fit_and_classify, y, seed)
    return chosen, asked


def test_each_labelled_row_is_held_out_once_and_its_label_hidden():
    before = Y.copy()
    _, asked = folds_of(Y)
    np.testing.assert_array_equal(Y, before)
    for folds in asked.values():
        held_out = np.concatenate([index for _, index in folds])
        # All but the unlabelled, and the only row of the last class.
        np.testing.assert_array_equal(np.sort(held_out), np.flatnonzero((Y >= 0) & (Y != 3)))
        for known, index in folds:
            np.testing.assert_array_equal(np.flatnonzero(known != Y), np.sort(index))
            assert (known[index] == -1).all()
            assert set(known) == {-1, 0, 1, 2, 3}  # nobody is asked to tell a class never seen


def test_folds_are_of_like_size_and_share_each_class():
    _, asked = folds_of(Y)
    folds = [index for _, index in asked[PLAN]]
    assert len(folds) == 3
    assert np.ptp([len(index) for index in folds]) <= 1
    for label in (0, 1, 2):
        assert np.ptp([np.count_nonzero(Y[index] == label) for index in folds]) <= 1


def test_plans_are_compared_on_the_same_folds_which_the_generator_deals():
    _, asked = folds_of(Y)
    for (_, one), (_, other) in zip(*asked.values(), strict=True):
        np.testing.assert_array_equal(one, other)
    _, again = folds_of(Y)
    _, otherwise = folds_of(Y, seed=1)
    same, different = ([index.tolist() for _, index in found[PLAN]] for found in (again, otherwise))
    assert [index.tolist() for _, index in asked[PLAN]] == same != different


def test_each_class_counts_the_same():
    """The first plan knows the 20 rows of the frequent class and none of the others; the second is the other way."""

    def fit_and_classify(plan, _known, held_out):
        knows = (Y[held_out] == 0) == (plan is PLANS[0])
        return np.where(knows[:, None], np.eye(4)[Y[held_out]], 0.0)

    assert choose(fit_and_classify) is PLANS[1]


def test_how_sure_counts_not_only_which():
    def fit_and_classify(plan, _known, held_out):
        return plan.n_steps * np.eye(4)[Y[held_out]]

    assert choose(fit_and_classify) is PLANS[1]


@pytest.mark.parametrize("y", [Y, np.array([0, 1, -1, 2])], ids=["equally good", "one row a class"])
def test_the_first_plan_where_nothing_speaks_for_another(y):
    chosen, asked = folds_of(y)
    assert chosen is PLANS[0]
    assert [len(folds) for folds in asked.values()] == ([3, 3] if y is Y else [0, 0])


def test_a_plan_that_ends_in_nan_is_not_chosen():
    def fit_and_classify(plan, _known, held_out):
        return np.full((len(held_out), 4), np.nan if plan is PLANS[0] else 0.0)

    assert choose(fit_and_classify) is PLANS[1]


def test_one_plan_is_not_tried():
    assert choose(lambda *_: pytest.fail("tried"), plans=PLANS[1:]) is PLANS[1]
