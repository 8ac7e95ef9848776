import pickle

import numpy as np
import pytest

from skdmlpl.datasets import load_cifar_lt, long_tail_counts

SMALL = {"n_labeled": 12, "n_unlabeled": 24, "imbalance_ratio": 6, "random_state": 0}


def numbered_images(n):
    """Images that tell their number by their first two pixels."""
    X = np.zeros((n, 3, 32, 32), dtype=np.uint8)
    X[:, 0, 0, 0], X[:, 0, 0, 1] = np.divmod(np.arange(n), 256)
    return X


def numbers(X):
    return 256 * X[:, 0, 0, 0].astype(int) + X[:, 0, 0, 1]


def write_batch(path, X, y, label_key="labels"):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps({"data": X.reshape(len(X), -1), label_key: y.tolist()}, protocol=2))


@pytest.fixture(scope="module")
def train_test():
    """500 training and 50 test images of 10 classes, in random order."""
    rng = np.random.default_rng(0)
    y_train, y_test = rng.permutation(np.repeat(np.arange(10), 50)), rng.permutation(np.repeat(np.arange(10), 5))
    return numbered_images(500), y_train, numbered_images(50), y_test


@pytest.fixture(scope="module")
def cifar10_root(train_test, tmp_path_factory):
    root = tmp_path_factory.mktemp("cifar")
    X_train, y_train, X_test, y_test = train_test
    for i, (X, y) in enumerate(zip(np.split(X_train, 5), np.split(y_train, 5), strict=True)):
        write_batch(root / "cifar-10-batches-py" / f"data_batch_{i + 1}", X, y)
    write_batch(root / "cifar-10-batches-py" / "test_batch", X_test, y_test)
    return root


@pytest.mark.parametrize("distribution", ["consistent", "uniform", "reversed"])
def test_class_counts(train_test, distribution):
    data = load_cifar_lt(
        "cifar10", arrays=train_test, unlabeled_distribution=distribution, imbalance_ratio_unlabeled=3, **SMALL
    )
    tail = long_tail_counts(24, 3, 10)
    expected = {"consistent": tail, "uniform": np.full(10, 24), "reversed": tail[::-1]}[distribution]
    np.testing.assert_array_equal(np.bincount(data.y[data.labeled]), long_tail_counts(12, 6, 10))
    np.testing.assert_array_equal(np.bincount(data.y_unlabeled), expected)


def test_every_image_keeps_its_label_or_hides_it(train_test):
    X_train, y_train, X_test, y_test = train_test
    data = load_cifar_lt("cifar10", arrays=train_test, **SMALL)
    drawn = numbers(data.X)
    assert len(np.unique(drawn)) == len(drawn)
    np.testing.assert_array_equal(data.X, X_train[drawn])
    np.testing.assert_array_equal(data.y[data.labeled], y_train[drawn[data.labeled]])
    np.testing.assert_array_equal(data.y_unlabeled, y_train[drawn[data.unlabeled]])
    assert (data.y[data.unlabeled] == -1).all()
    np.testing.assert_array_equal(np.concatenate([data.labeled, data.unlabeled]), np.arange(len(data.X)))
    np.testing.assert_array_equal(data.X_test, X_test)
    np.testing.assert_array_equal(data.y_test, y_test)
    assert data.X.dtype == data.X_test.dtype == np.uint8
    assert data.y.dtype == data.y_unlabeled.dtype == data.y_test.dtype == np.int64


def test_the_seed_decides_the_split(train_test):
    first, again = (load_cifar_lt("cifar10", arrays=train_test, **SMALL) for _ in range(2))
    other = load_cifar_lt("cifar10", arrays=train_test, **(SMALL | {"random_state": 1}))
    np.testing.assert_array_equal(numbers(first.X), numbers(again.X))
    assert not np.array_equal(numbers(first.X), numbers(other.X))


@pytest.mark.parametrize(
    "name, n_classes, n_labeled, smallest, n_unlabeled",
    [("cifar10", 10, 3720, 15, 7443), ("cifar100", 100, 4741, 7, 9527)],
)
def test_defaults_are_the_published_protocol(name, n_classes, n_labeled, smallest, n_unlabeled):
    X, y = np.zeros((50_000, 3, 32, 32), dtype=np.uint8), np.arange(50_000) % n_classes
    data = load_cifar_lt(name, arrays=(X, y, X[:n_classes], y[:n_classes]), random_state=0)
    assert len(data.labeled) == n_labeled
    assert np.bincount(data.y[data.labeled])[-1] == smallest
    assert len(data.unlabeled) == len(data.y_unlabeled) == n_unlabeled
    assert len(data.X) == n_labeled + n_unlabeled


def test_files_give_what_arrays_give(train_test, cifar10_root):
    from_files = load_cifar_lt("cifar10", str(cifar10_root), **SMALL)
    from_arrays = load_cifar_lt("cifar10", arrays=train_test, **SMALL)
    assert from_files.keys() == from_arrays.keys()
    for key, value in from_files.items():
        np.testing.assert_array_equal(value, from_arrays[key])


def test_cifar100_has_fine_classes(tmp_path):
    y = np.tile(np.arange(100), 6)
    X = numbered_images(len(y))
    write_batch(tmp_path / "cifar-100-python" / "train", X, y, "fine_labels")
    write_batch(tmp_path / "cifar-100-python" / "test", X[:100], y[:100], "fine_labels")
    data = load_cifar_lt("cifar100", tmp_path, n_labeled=2, n_unlabeled=4, imbalance_ratio=2)
    np.testing.assert_array_equal(np.bincount(data.y[data.labeled]), long_tail_counts(2, 2, 100))
    np.testing.assert_array_equal(data.y_unlabeled, y[numbers(data.X[data.unlabeled])])


def test_names_are_in_the_official_order(train_test):
    cifar10 = load_cifar_lt("cifar10", arrays=train_test, **SMALL).target_names
    assert cifar10.tolist() == sorted(cifar10)
    assert len(cifar10) == 10
    X = np.zeros((200, 3, 32, 32), dtype=np.uint8)
    y = np.arange(200) % 100
    cifar100 = load_cifar_lt("cifar100", arrays=(X, y, X, y), n_labeled=1, n_unlabeled=1).target_names
    assert cifar100.tolist() == sorted(set(cifar100.tolist()))
    assert len(cifar100) == 100


def test_missing_files_are_listed(cifar10_root, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_cifar_lt("cifar100", cifar10_root)
    message = str(error.value)
    assert f"2 of 2 files are missing in {cifar10_root / 'cifar-100-python'}: train, test." in message
    assert f"torchvision.datasets.CIFAR100({str(cifar10_root)!r}, download=True)" in message
    assert "https://www.cs.toronto.edu/~kriz/cifar.html" in message


def test_a_damaged_file_is_named(train_test, tmp_path):
    X, y = train_test[:2]
    for i in range(1, 6):
        write_batch(tmp_path / "cifar-10-batches-py" / f"data_batch_{i}", X, y)
    write_batch(tmp_path / "cifar-10-batches-py" / "test_batch", X, y + 1)
    with pytest.raises(ValueError, match=r"test_batch cannot be read .*: 'labels' must be from 0 to 9"):
        load_cifar_lt("cifar10", tmp_path)


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda X, y: (X / 255, y), "X_train must be of dtype uint8 .* Got float64"),
        (lambda X, y: (X.transpose(0, 2, 3, 1), y), r"transpose\(0, 3, 1, 2\) mends it. Got uint8 and shape \(500, 32"),
        (lambda X, y: (X[:, :, :16, :16], y), "X_train must be"),
        (lambda X, y: (X.reshape(500, -1), y), "X_train must be"),
        (lambda X, y: (X, y[1:]), "y_train must hold an integer from 0 to 9 for each of the 500 images.* Got 499"),
        (lambda X, y: (X, y + 1), "y_train must hold an integer from 0 to 9"),
        (lambda X, y: (X, y + 0.5), "y_train must hold an integer from 0 to 9 .* of dtype float64"),
        (lambda X, y: (X, np.where(y == 3, 4, y)), "The training images must be of all 10 classes of CIFAR10"),
        (lambda X, y: (X[y != 3], y[y != 3]), "The training images must be of all 10 classes of CIFAR10"),
    ],
)
def test_arrays_of_another_form_are_refused(train_test, change, match):
    with pytest.raises(ValueError, match=match):
        load_cifar_lt("cifar10", arrays=(*change(*train_test[:2]), *train_test[2:]), **SMALL)


def test_the_test_set_is_checked_too(train_test):
    with pytest.raises(ValueError, match="X_test must be"):
        load_cifar_lt("cifar10", arrays=(*train_test[:2], train_test[2][0], train_test[3]), **SMALL)
    with pytest.raises(ValueError, match="y_test must hold"):
        load_cifar_lt("cifar10", arrays=(*train_test[:3], -train_test[3]), **SMALL)


def test_other_arguments_are_checked(train_test, tmp_path):
    with pytest.raises(
        ValueError, match=r"'name' parameter of load_cifar_lt must be one of cifar10, cifar100\. Got 'mnist'"
    ):
        load_cifar_lt("mnist", tmp_path)
    for kwargs in ({}, {"root": tmp_path, "arrays": train_test}):
        with pytest.raises(ValueError, match="either root or arrays"):
            load_cifar_lt("cifar10", **kwargs)
    with pytest.raises(ValueError, match=r"arrays must be X_train, y_train, X_test and y_test\. Got 2 arrays"):
        load_cifar_lt("cifar10", arrays=train_test[:2])
    with pytest.raises(ValueError, match="Class 0 has 50 rows, but needs 4500"):
        load_cifar_lt("cifar10", arrays=train_test)
