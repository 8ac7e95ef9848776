"""What is filled in where the caller leaves a number out: it follows from shapes and sizes."""

from dataclasses import replace

import pytest
from torch import nn

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl._defaults import resolve_networks, resolve_plans


def plans_of(*, row_shape, n_labeled, n_unlabeled=0, **params):
    model = DMLPseudoLabelClassifier(**params)
    return resolve_plans(model, row_shape=row_shape, n_labeled=n_labeled, n_unlabeled=n_unlabeled, n_rounds=3)


@pytest.mark.parametrize(
    ("backbone", "row_shape", "steps", "weight_decay", "mixup_alpha", "metric_weight"),
    [
        (None, (49,), (50, 100, 288, 600, 1200), 1.0, 0.2, 0.05),
        (None, (50,), (50, 100, 288, 400, 400), 3.0, 0.2, 0.01),
        (None, (3, 32, 32), (1500, 1500, 1500, 1500, 4000), 1.0, 1.0, 0.01),
        (nn.Linear(49, 6), (49,), (500, 500, 500, 600, 4000), 0.05, 0.2, 0.05),
        (nn.Conv2d(3, 6, 3), (3, 32, 32), (500, 500, 500, 600, 4000), 0.05, 1.0, 0.01),
    ],
    ids=["narrow table", "wide table", "images", "own backbone", "own backbone for images"],
)
def test_numbers_left_to_us_follow_from_shapes(backbone, row_shape, steps, weight_decay, mixup_alpha, metric_weight):
    plans = [plans_of(row_shape=row_shape, n_labeled=n, backbone=backbone)[0] for n in (10, 100, 192, 300, 9000)]
    assert tuple(plan.n_steps for plan in plans) == steps
    for plan in plans:
        assert plan.learning_rate == 2e-3
        assert (plan.weight_decay, plan.mixup_alpha, plan.metric_weight) == (weight_decay, mixup_alpha, metric_weight)


@pytest.mark.parametrize(("n_labeled", "n_steps"), [(2, 200), (50, 200), (51, 204), (128, 512), (255, 512)])
def test_a_small_table_may_train_longer(n_labeled, n_steps):
    gentle, thorough = plans_of(row_shape=(49,), n_labeled=n_labeled)
    longer = {"n_steps": n_steps, "n_later_steps": n_steps // 2}
    assert thorough == replace(gentle, learning_rate=0.016, weight_decay=2.0, **longer)


@pytest.mark.parametrize(
    ("params", "row_shape", "n_labeled", "n_unlabeled", "later_steps"),
    [
        ({}, (49,), 100, 400, [50, 200]),
        ({}, (49,), 100, 480, [60, 200]),  # as 120 labelled rows
        ({}, (49,), 20, 4000, [600, 600]),  # the limit, of 1,200
        ({}, (50,), 20, 4000, [200]),
        ({}, (50,), 3000, 4000, [200]),
        ({"backbone": nn.Linear(49, 6)}, (49,), 100, 4000, [1000]),
        ({"n_steps": 100}, (49,), 20, 4000, [50]),
        ({"n_steps": 1}, (49,), 20, 0, [1]),
        ({}, (3, 32, 32), 20, 9000, [750]),
    ],
    ids=str,
)
def test_later_rounds_train_longer_where_few_of_many_rows_are_labeled(
    params, row_shape, n_labeled, n_unlabeled, later_steps
):
    plans = plans_of(row_shape=row_shape, n_labeled=n_labeled, n_unlabeled=n_unlabeled, **params)
    assert [plan.n_later_steps for plan in plans] == later_steps
    before = plans_of(row_shape=row_shape, n_labeled=n_labeled, **params)
    assert [plan.n_steps for plan in plans] == [plan.n_steps for plan in before]


@pytest.mark.parametrize(
    ("params", "n_labeled", "row_shape"),
    [
        ({"n_steps": 100, "metric_weight": 0.7}, 60, (4,)),
        ({"learning_rate": 1e-4, "batch_size": 16}, 60, (4,)),
        ({"weight_decay": 0.3}, 60, (4,)),
        ({"backbone": nn.Linear(4, 6)}, 60, (4,)),
        ({}, 256, (4,)),
        ({}, 60, (50,)),
        ({}, 60, (3, 8, 8)),
    ],
    ids=["own steps", "own learning rate", "own decay", "own backbone", "many labels", "wide table", "images"],
)
def test_other_data_and_own_numbers_leave_no_choice(params, n_labeled, row_shape):
    (plan,) = plans_of(row_shape=row_shape, n_labeled=n_labeled, **params)
    own = {name: value for name, value in params.items() if name != "backbone"}
    assert own == {name: getattr(plan, name) for name in own}


@pytest.mark.parametrize(
    ("params", "row_shape", "n_unlabeled", "expected"),
    [
        ({}, (50,), 1000, (2, False)),
        ({}, (49,), 999, (1, True)),
        ({}, (2,), 1000, (2, True)),
        ({}, (49,), 0, (1, False)),
        ({}, (3, 50, 50), 1000, (1, False)),
        ({"max_rounds": 0}, (49,), 1000, (1, False)),
        ({"backbone": nn.Linear(49, 6)}, (49,), 1000, (1, False)),
        ({"n_networks": 1}, (49,), 1000, (1, False)),
        ({"n_networks": 3, "backbone": nn.Linear(50, 6), "max_rounds": 0}, (50,), 0, (3, False)),
    ],
    ids=str,
)
def test_networks_follow_from_shapes(params, row_shape, n_unlabeled, expected):
    model = DMLPseudoLabelClassifier(**params)
    assert resolve_networks(model, row_shape=row_shape, n_unlabeled=n_unlabeled) == expected
