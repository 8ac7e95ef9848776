import io
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from skdmlpl.datasets import load_imagenet127, load_small_imagenet127
from skdmlpl.datasets._imagenet127 import class_table

TABLE = class_table()
CLASS_OF = dict(zip(TABLE.wnids, TABLE.target_names[TABLE.classes], strict=True))


def test_the_table_has_1000_classes_in_127():
    assert len(TABLE.wnids) == len(set(TABLE.wnids)) == len(TABLE.classes) == 1000
    assert len(set(TABLE.target_names)) == 127
    np.testing.assert_array_equal(np.unique(TABLE.classes), np.arange(127))


def test_the_table_is_in_the_order_of_the_development_kit():
    # map_clsloc.txt: 1 kit fox, 2 English setter, 494 European fire salamander, 1000 dumbbell.
    for number, wnid in [(1, "n02119789"), (2, "n02100735"), (494, "n01629819"), (1000, "n03255030")]:
        assert TABLE.wnids[number - 1] == wnid


@pytest.mark.parametrize(
    "wnid, name",
    [
        ("n02119789", "mammal"),  # kit fox
        ("n01440764", "soft-finned fish"),  # tench
        ("n01514668", "bird"),  # cock
        ("n03255030", "weight"),  # dumbbell
        ("n15075141", "tissue"),  # toilet tissue
        ("n07871810", "dish"),  # meat loaf: two ancestors at the same distance
        ("n03584254", "electronic equipment"),  # iPod: the same
    ],
)
def test_classes_of_some(wnid, name):
    assert CLASS_OF[wnid] == name


@pytest.mark.parametrize(
    "name, n",
    [("mammal", 218), ("bird", 59), ("snake", 17), ("turtle", 5), ("salamander", 5), ("shark", 3), ("frog", 3)],
)
def test_sizes_of_some_classes(name, n):
    assert list(CLASS_OF.values()).count(name) == n


def test_mammals_are_the_largest_class():
    assert TABLE.target_names[np.bincount(TABLE.classes).argmax()] == "mammal"


def labeled_images(y, size):
    """Images that tell their label, from 1 to 1,000, by their first two pixels, and their channel by the last one."""
    X = np.zeros((len(y), 3, size, size), dtype=np.uint8)
    X[:, 0, 0, 0], X[:, 0, 0, 1] = np.divmod(y, 256)
    X[:, :, -1, -1] = [1, 2, 3]
    return X


def write_batches(root, y_train, y_test, size=32):
    root.mkdir(exist_ok=True)
    names = [f"train_data_batch_{i}" for i in range(1, 11)]
    for name, y in zip([*names, "val_data"], [*np.array_split(y_train, 10), y_test], strict=True):
        batch = {"data": labeled_images(y, size).reshape(len(y), -1), "labels": y.tolist(), "mean": np.zeros(3)}
        (root / name).write_bytes(pickle.dumps(batch))


def class_told_by(X):
    labels = 256 * X[:, 0, 0, 0].astype(int) + X[:, 0, 0, 1]
    return TABLE.classes[labels - 1]


@pytest.fixture(scope="module")
def small_root(tmp_path_factory):
    """Two training images of each of the 1,000 classes, and a test image of each of the first 500."""
    root = tmp_path_factory.mktemp("imagenet32")
    rng = np.random.default_rng(0)
    write_batches(root, rng.permutation(np.tile(np.arange(1, 1001), 2)), np.arange(1, 501))
    return root


def check_protocol(data, n_train, n_test, size):
    assert data.X.shape == (n_train, 3, size, size)
    assert data.X_test.shape == (n_test, 3, size, size)
    for X in (data.X, data.X_test):
        assert X.dtype == np.uint8
        assert isinstance(X, np.memmap)
        assert not X.flags.writeable
    np.testing.assert_array_equal(np.sort(np.concatenate([data.labeled, data.unlabeled])), np.arange(n_train))
    assert (np.diff(data.labeled) > 0).all()
    assert (data.y[data.unlabeled] == -1).all()
    assert data.target_names.tolist() == TABLE.target_names.tolist()
    y = data.y.copy()
    y[data.unlabeled] = data.y_unlabeled
    assert y.dtype == data.y_test.dtype == np.int64
    return y


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_small_imagenet_is_the_protocol(small_root, tmp_path, fraction):
    data = load_small_imagenet127(small_root, labeled_fraction=fraction, cache_dir=tmp_path, random_state=0)
    y = check_protocol(data, 2000, 500, 32)
    np.testing.assert_array_equal(y, class_told_by(data.X))
    np.testing.assert_array_equal(data.y_test, class_told_by(data.X_test))
    assert (data.X[:, :, -1, -1] == [1, 2, 3]).all()

    sizes = 2 * np.bincount(TABLE.classes)
    expected = [max(1, round(n * fraction)) for n in sizes.tolist()]
    np.testing.assert_array_equal(np.bincount(data.y[data.labeled]), expected)


def test_small_imagenet_at_64_pixels(tmp_path):
    write_batches(tmp_path, np.arange(1, 1001), np.arange(1, 11), size=64)
    data = load_small_imagenet127(str(tmp_path), 64)
    check_protocol(data, 1000, 10, 64)
    np.testing.assert_array_equal(data.y_test, class_told_by(data.X_test))


def test_the_seed_decides_which_images_have_labels(small_root, tmp_path):
    first, again, other = (
        load_small_imagenet127(small_root, cache_dir=tmp_path, random_state=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.labeled, again.labeled)
    assert not np.array_equal(first.labeled, other.labeled)
    assert len(list(tmp_path.iterdir())) == 1  # one file of images for all seeds


def test_small_imagenet_is_cached_beside_its_files(tmp_path):
    write_batches(tmp_path, np.arange(1, 1001), np.arange(1, 11))
    first = load_small_imagenet127(tmp_path, random_state=0)
    assert len(list(tmp_path.glob("small-imagenet-32px-*"))) == 1
    # A file of the same size, whose content would be refused: it is not read again.
    (tmp_path / "val_data").write_bytes(bytes((tmp_path / "val_data").stat().st_size))
    np.testing.assert_array_equal(load_small_imagenet127(tmp_path, random_state=0).y, first.y)


def test_missing_batches_are_listed(small_root, tmp_path):
    shutil.copy(small_root / "train_data_batch_3", tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        load_small_imagenet127(tmp_path, 64)
    message = str(error.value)
    assert (
        f"10 of 11 files are missing in {tmp_path}: train_data_batch_1, train_data_batch_2, train_data_batch_4"
        in message
    )
    assert "val_data. " in message
    assert "64x64 from https://image-net.org/download-images" in message


def test_batches_of_another_size_are_refused(small_root, tmp_path):
    with pytest.raises(
        ValueError, match=r"batch_1 cannot be read .* must have rows of 12288 values, but has rows of 3072"
    ):
        load_small_imagenet127(small_root, 64, cache_dir=tmp_path)
    assert not any(tmp_path.iterdir())


def test_labels_start_at_1(tmp_path):
    write_batches(tmp_path, np.arange(1, 1001), np.arange(0, 10))
    with pytest.raises(ValueError, match=r"val_data cannot be read .* 'labels' must be from 1 to 1000"):
        load_small_imagenet127(tmp_path)


def test_every_class_is_needed(tmp_path):
    without_fungus = np.flatnonzero(TABLE.classes != 11) + 1
    write_batches(tmp_path, without_fungus, without_fungus[:5])
    with pytest.raises(ValueError, match=r"There is no training image of class \[11\]"):
        load_small_imagenet127(tmp_path)


@pytest.mark.parametrize("load", [load_small_imagenet127, load_imagenet127])
@pytest.mark.parametrize(
    "name, value, error",
    [
        ("size", 0, ValueError),
        ("size", 32.0, TypeError),
        ("labeled_fraction", 0, ValueError),
        ("labeled_fraction", 1.0, ValueError),
        ("labeled_fraction", "all", TypeError),
        ("random_state", "seed", ValueError),
    ],
)
def test_arguments_are_checked_before_files_are_sought(tmp_path, load, name, value, error):
    with pytest.raises(error, match="seed a numpy" if name == "random_state" else name):
        load(tmp_path, **{name: value})


def png(value, shape):
    content = io.BytesIO()
    Image.new("RGB", shape, (value, 0, 255)).save(content, "png")
    return content.getvalue()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Two training images and one test image of each class; red tells the class."""
    root = tmp_path_factory.mktemp("imagenet")
    images = [(png(c, (9, 6)), png(c, (5, 7))) for c in range(127)]
    for part, n in (("train", 2), ("val", 1)):
        for wnid, c in zip(TABLE.wnids, TABLE.classes, strict=True):
            (root / part / wnid).mkdir(parents=True)
            for i in range(n):
                (root / part / wnid / f"{wnid}_{i}.PNG").write_bytes(images[c][i])
    (root / "train" / "n00000000").mkdir()  # not one of the 1,000
    return root


@pytest.fixture(scope="module")
def imagenet(tree):
    return load_imagenet127(tree, 6, random_state=0)


def test_imagenet_is_the_protocol(imagenet):
    y = check_protocol(imagenet, 2000, 1000, 6)
    for X, labels in ((imagenet.X, y), (imagenet.X_test, imagenet.y_test)):
        np.testing.assert_array_equal(X[:, 0], np.broadcast_to(labels[:, None, None], (len(X), 6, 6)))
        assert (X[:, 1] == 0).all()
        assert (X[:, 2] == 255).all()
    expected = [max(1, round(0.2 * n)) for n in np.bincount(TABLE.classes).tolist()]
    np.testing.assert_array_equal(np.bincount(imagenet.y[imagenet.labeled]), expected)
    np.testing.assert_array_equal(np.bincount(imagenet.y_test), np.bincount(TABLE.classes))


def test_imagenet_is_cached_beside_its_folders(tree, imagenet, monkeypatch):
    assert len(list(tree.glob("imagenet-6px-*"))) == 1
    monkeypatch.setattr(Image, "open", None)  # reading an image again would fail
    again = load_imagenet127(str(tree), 6, random_state=0)
    np.testing.assert_array_equal(again.X, imagenet.X)
    np.testing.assert_array_equal(again.y, imagenet.y)


def test_missing_folders_are_listed(tmp_path):
    (tmp_path / "train" / TABLE.wnids[0]).mkdir(parents=True)
    with pytest.raises(FileNotFoundError) as error:
        load_imagenet127(tmp_path)
    message = str(error.value)
    assert message.startswith(f"1999 of 2000 folders are missing in {tmp_path}: train/{TABLE.wnids[1]}, ")
    assert "and 1996 more" in message
    assert "https://image-net.org/download" in message
    assert f"torchvision.datasets.ImageNet({str(tmp_path)!r}, split)" in message


def test_a_class_without_images_is_named(tree, tmp_path):
    for part in ("train", "val"):
        for wnid in TABLE.wnids:
            (tmp_path / part / wnid).mkdir(parents=True)
            if wnid != TABLE.wnids[7]:
                (tmp_path / part / wnid / "1.png").touch()
    with pytest.raises(FileNotFoundError, match=rf"train must hold images .* none in {TABLE.wnids[7]},"):
        load_imagenet127(tmp_path)
    (tmp_path / "val" / TABLE.wnids[7]).rmdir()
    with pytest.raises(FileNotFoundError, match=rf"1 of 2000 folders are missing in .*: val/{TABLE.wnids[7]}\. Get"):
        load_imagenet127(tmp_path)
