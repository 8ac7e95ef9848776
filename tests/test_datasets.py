from functools import partial

import numpy as np
import pytest

from skdmlpl.datasets import long_tail_counts, make_long_tailed_split

Y = np.repeat(np.arange(5), 300)
split_5x300 = partial(make_long_tailed_split, Y, 60, 90, 20, random_state=0)


@pytest.mark.parametrize(
    "n_max, ratio, n_classes, total, smallest",
    [
        (1500, 50, 10, 4196, 30),
        (1500, 100, 10, 3720, 15),
        (1500, 150, 10, 3496, 10),
        (500, 100, 10, 1236, 5),
        (500, 150, 10, 1162, 3),
        (150, 10, 100, 5835, 15),
        (150, 20, 100, 4741, 7),
        (150, 50, 100, 3751, 3),
        (150, 100, 100, 3218, 1),
        (50, 10, 100, 1911, 5),
        (50, 20, 100, 1545, 2),
    ],
)
def test_published_counts(n_max, ratio, n_classes, total, smallest):
    counts = long_tail_counts(n_max, ratio, n_classes)
    assert counts[0] == n_max
    assert counts[-1] == smallest
    assert counts.sum() == total
    assert (np.diff(counts) <= 0).all()


def test_counts_at_exact_integers():
    # 8, 4, 2, 1 are exact; any rounding below them would lose a row.
    for scale in (1, 3, 7, 1000):
        np.testing.assert_array_equal(long_tail_counts(8 * scale, 8, 4), np.array([8, 4, 2, 1]) * scale)
    for ratio in range(2, 200):
        assert long_tail_counts(ratio * 11, ratio, 7)[-1] == 11


def test_counts_at_the_limits():
    np.testing.assert_array_equal(long_tail_counts(5, 1000, 3), [5, 1, 1])
    np.testing.assert_array_equal(long_tail_counts(5, 1, 3), [5, 5, 5])
    np.testing.assert_array_equal(long_tail_counts(5, 10, 1), [5])


@pytest.mark.parametrize(
    "args, match",
    [((0, 10, 3), "n_max == 0"), ((5, 0.5, 3), "imbalance_ratio == 0.5"), ((5, 10, 0), "n_classes == 0")],
)
def test_counts_errors(args, match):
    with pytest.raises(ValueError, match=match):
        long_tail_counts(*args)


@pytest.mark.parametrize("ratio", [np.inf, np.nan])
def test_counts_refuse_a_ratio_that_is_not_finite(ratio):
    with pytest.raises(ValueError, match="must be finite"):
        long_tail_counts(5, ratio, 3)


@pytest.mark.parametrize("distribution", ["consistent", "uniform", "reversed"])
def test_parts_have_the_counts_asked_for(distribution):
    split = split_5x300(unlabeled_distribution=distribution, imbalance_ratio_unlabeled=10, n_test_per_class=30)
    consistent = long_tail_counts(90, 10, 5)
    expected = {"consistent": consistent, "uniform": np.full(5, 90), "reversed": consistent[::-1]}[distribution]
    np.testing.assert_array_equal(np.bincount(Y[split.labeled]), long_tail_counts(60, 20, 5))
    np.testing.assert_array_equal(np.bincount(Y[split.unlabeled]), expected)
    np.testing.assert_array_equal(np.bincount(Y[split.test]), np.full(5, 30))

    rows = np.concatenate(split)
    assert len(np.unique(rows)) == len(rows)
    assert all((np.diff(part) > 0).all() for part in split)


def test_unlabeled_ratio_defaults_to_the_labeled_one():
    np.testing.assert_array_equal(np.bincount(Y[split_5x300().unlabeled]), long_tail_counts(90, 20, 5))


def test_same_seed_same_split():
    for a, b in zip(split_5x300(n_test_per_class=9), split_5x300(n_test_per_class=9), strict=True):
        np.testing.assert_array_equal(a, b)
    other = make_long_tailed_split(Y, 60, 90, 20, random_state=1)
    assert not np.array_equal(other.labeled, split_5x300().labeled)


def test_labeled_and_test_rows_do_not_depend_on_the_unlabeled_distribution():
    splits = [split_5x300(unlabeled_distribution=d, n_test_per_class=9) for d in ("consistent", "uniform", "reversed")]
    for split in splits[1:]:
        np.testing.assert_array_equal(split.labeled, splits[0].labeled)
        np.testing.assert_array_equal(split.test, splits[0].test)


def test_global_random_state_is_left_alone():
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    split_5x300()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("dtype", [str, object])
def test_string_labels_follow_sorted_order(dtype):
    names = np.array(["eel", "ant", "cat", "dog", "bee"], dtype=dtype)
    order = np.argsort(names.astype(str))
    by_name = make_long_tailed_split(names[order][Y], 60, 90, 20, random_state=0)
    for a, b in zip(by_name, split_5x300(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_class_too_small_is_named():
    y = np.repeat(["big", "small"], [100, 12])
    with pytest.raises(ValueError, match="Class small has 12 rows, but needs 15: 5 test, 4 labelled and 6 unlabelled"):
        make_long_tailed_split(y, 8, 12, 2, n_test_per_class=5)


@pytest.mark.parametrize(
    "n_small, labeled, unlabeled",
    [(12, 4, 3), (9, 4, 0), (6, 1, 0)],
)
def test_truncate_fills_test_then_labeled_then_unlabeled(n_small, labeled, unlabeled):
    y = np.repeat([0, 1], [100, n_small])
    split = make_long_tailed_split(y, 8, 12, 2, n_test_per_class=5, on_shortage="truncate", random_state=0)
    counts = [np.bincount(y[part], minlength=2).tolist() for part in split]
    assert counts == [[8, labeled], [12, unlabeled], [5, 5]]


def test_truncate_keeps_a_labeled_row_or_raises():
    y = np.repeat([0, 1], [100, 5])
    with pytest.raises(ValueError, match="Class 1 has 5 rows, but needs 6: 5 test rows and one labelled row"):
        make_long_tailed_split(y, 8, 12, 2, n_test_per_class=5, on_shortage="truncate")


@pytest.mark.parametrize(
    "kwargs, match",
    [
        ({"unlabeled_distribution": "flat"}, "'unlabeled_distribution' parameter of make_long_tailed_split must be"),
        ({"on_shortage": "ignore"}, "'on_shortage' parameter of make_long_tailed_split must be"),
        ({"n_test_per_class": -1}, "n_test_per_class == -1"),
        ({"imbalance_ratio_unlabeled": 0.1}, "imbalance_ratio_unlabeled == 0.1"),
    ],
)
def test_split_errors(kwargs, match):
    with pytest.raises(ValueError, match=match):
        split_5x300(**kwargs)


def test_empty_y_is_refused():
    with pytest.raises(ValueError, match="n_classes == 0"):
        make_long_tailed_split([], 8, 12, 2)


@pytest.mark.parametrize(
    "args, match",
    [((0, 90, 20), "n_labeled == 0"), ((60, 0, 20), "n_unlabeled == 0"), ((60, 90, 0.5), "imbalance_ratio == 0.5")],
)
def test_split_names_the_parameter_that_is_out_of_range(args, match):
    with pytest.raises(ValueError, match=match):
        make_long_tailed_split(Y, *args)


@pytest.mark.parametrize(
    ("labels", "mark", "words"),
    [
        ([0, 1, 2], -1, "Got -1, .* for 5 of 20"),
        ([0.0, 1.0], np.nan, "Got nan, .* for 5 of 20"),
        (["a", "b"], None, ""),
    ],
    ids=["-1", "nan", "None"],
)
def test_marks_of_unlabelled_rows_are_no_class(labels, mark, words):
    y = np.array([*np.resize(labels, 15), *[mark] * 5], dtype=object if mark is None else None)
    with pytest.raises(ValueError, match="y must hold the class of every row.*" + words):
        make_long_tailed_split(y, 2, 2, 1, random_state=0)


def test_minus_one_beside_one_is_a_class():
    y = np.repeat([-1, 1], 10)
    split = make_long_tailed_split(y, 4, 2, 2, random_state=0)
    assert y[split.labeled].tolist() == [-1] * 4 + [1] * 2
