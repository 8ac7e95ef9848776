import os
import pickle
import struct

import numpy as np
import pytest

from skdmlpl.datasets._batch_files import check_files, read_batch

IMAGES = np.random.default_rng(0).integers(256, size=(5, 3, 2, 2), dtype=np.uint8)
LABELS = [1, 3, 2, 1, 3]
BATCH = {"data": IMAGES.reshape(5, 12), "labels": LABELS, "mean": np.zeros(12)}


def read(path, size=2, labels=range(1, 4), **kwargs):
    return read_batch(path, size=size, labels=labels, **kwargs)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "batch"


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("as_labels", [list, np.array, lambda labels: list(np.array(labels, dtype=np.uint16))])
def test_images_and_labels_come_back(path, protocol, as_labels):
    path.write_bytes(pickle.dumps(BATCH | {"labels": as_labels(LABELS)}, protocol=protocol))
    images, labels = read(path)
    np.testing.assert_array_equal(images, IMAGES)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(labels, LABELS)
    assert labels.dtype == np.int64


def test_pickles_of_older_numpy_versions_are_read(path):
    content = pickle.dumps(BATCH, protocol=2)
    assert b"numpy._core.multiarray" in content
    path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    np.testing.assert_array_equal(read(path)[0], IMAGES)


def test_pickles_of_python_2_are_read(path):
    """CIFAR's files are of this kind: the pixels are a byte string without a name for its encoding."""
    pixels = IMAGES.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I5\nI12\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"
        b"I00\nT" + struct.pack("<i", len(pixels)) + pixels + b"tb"
    )
    labels = b"(" + b"".join(b"I%d\n" % label for label in LABELS) + b"l"
    path.write_bytes(b"\x80\x02}(S'data'\n" + array + b"S'fine_labels'\n" + labels + b"u.")
    images, read_labels = read(path, label_key="fine_labels")
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(read_labels, LABELS)


class Payload:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function, args", [(os.system, ("exit",)), (eval, ("1",)), (np.load, ("x",))])
def test_nothing_but_arrays_is_unpickled(path, monkeypatch, function, args):
    path.write_bytes(pickle.dumps(BATCH | {"labels": Payload(function, *args)}))
    with pytest.raises(ValueError, match=rf"batch cannot be read .* it asks for \w+\S*\.{function.__name__}, which"):
        read(path)


def test_code_in_a_file_is_not_run(path, tmp_path):
    path.write_bytes(pickle.dumps(BATCH | {"data": Payload(os.mkdir, str(tmp_path / "made"))}))
    with pytest.raises(ValueError, match="mkdir"):
        read(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"not a pickle", pickle.dumps(BATCH)[:-30], b"\x80\x04cnumpy\n"])
def test_a_damaged_file_is_named(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="batch cannot be read as a batch of 2 x 2 images"):
        read(path)


@pytest.mark.parametrize(
    "batch, match",
    [
        ([1, 2], "must hold a dict with 'data' and 'labels'"),
        ({"data": BATCH["data"]}, "must hold a dict with 'data' and 'labels'"),
        (BATCH | {"data": IMAGES.reshape(5, 12).tolist()}, "'data' must be an array of dtype uint8, one row an image"),
        (BATCH | {"data": IMAGES.reshape(5, 12) / 255}, "'data' must be an array of dtype uint8"),
        (BATCH | {"data": IMAGES}, "one row an image"),
        (BATCH | {"data": IMAGES.reshape(15, 4)}, "must have rows of 12 values, but has rows of 4"),
        (BATCH | {"labels": LABELS[:-1]}, "'labels' must hold one integer for each of the 5 images"),
        (BATCH | {"labels": [LABELS] * 5}, "must hold one integer"),
        (BATCH | {"labels": [[1], [1, 2], [], [], []]}, "inhomogeneous"),
        (BATCH | {"labels": [1.0] * 5}, "must hold one integer"),
        (BATCH | {"labels": [1, 2, 3, 4, 1]}, "'labels' must be from 1 to 3"),
        (BATCH | {"labels": [1, 2, 3, 0, 1]}, "'labels' must be from 1 to 3"),
    ],
)
def test_a_file_of_something_else_is_refused(path, batch, match):
    path.write_bytes(pickle.dumps(batch))
    with pytest.raises(ValueError, match=match):
        read(path)


def test_an_unreadable_file_is_not_called_damaged(tmp_path):
    with pytest.raises(IsADirectoryError):
        read(tmp_path)


def test_missing_files_are_listed_with_the_folder_and_the_remedy(tmp_path):
    (tmp_path / "b").touch()
    check_files(tmp_path, ["b"], "Find it.")
    with pytest.raises(FileNotFoundError) as error:
        check_files(tmp_path, ["a", "b", "c"], "Find it.")
    assert str(error.value) == f"2 of 3 files are missing in {tmp_path}: a, c. Find it."
