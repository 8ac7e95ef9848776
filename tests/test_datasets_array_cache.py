import shutil
from collections import namedtuple

import numpy as np
import pytest

from skdmlpl.datasets._array_cache import cache_folder, image_file


def write_text(folder):
    (folder / "a").write_text("text")


@pytest.mark.parametrize("n_blocks", [0, 1, 15])
def test_image_file_is_an_ordinary_npy_file(tmp_path, rng, n_blocks):
    blocks = [rng.integers(256, size=(7, 3, 4, 4), dtype=np.uint8) for _ in range(n_blocks)]
    with image_file(tmp_path / "x.npy", 4) as append:
        for block in blocks:
            append(block)
    X = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(X, np.memmap)
    assert X.dtype == np.uint8
    np.testing.assert_array_equal(X, np.concatenate([np.empty((0, 3, 4, 4), np.uint8), *blocks]))


def test_image_file_takes_blocks_in_any_memory_order(tmp_path, rng):
    block = rng.integers(256, size=(5, 4, 4, 3), dtype=np.uint8).transpose(0, 3, 1, 2)
    with image_file(tmp_path / "x.npy", 4) as append:
        append(block)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), block)


def test_a_folder_is_written_once(tmp_path):
    calls = []

    def write(folder):
        calls.append(folder)
        write_text(folder)

    folder = cache_folder(tmp_path / "new" / "dir", "name", ["a", "b"], 4, write)
    assert folder.parent == tmp_path / "new" / "dir"
    assert folder.name.startswith("name-")
    assert (folder / "a").read_text() == "text"
    assert cache_folder(tmp_path / "new" / "dir", "name", ["a", "b"], 4, write) == folder
    assert len(calls) == 1
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize(
    "name, sources", [("other", ["a"]), ("name", ["b"]), ("name", ["a", "a"]), ("name", ["\udcff"])]
)
def test_other_sources_have_another_folder(tmp_path, name, sources):
    folder = cache_folder(tmp_path, "name", ["a"], 4, write_text)
    assert cache_folder(tmp_path, name, sources, 4, write_text) != folder


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupted(folder):
        write_text(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_folder(tmp_path, "name", [], 4, interrupted)
    assert not any(tmp_path.iterdir())


def test_of_two_processes_the_first_to_finish_wins(tmp_path):
    def overtaken(folder):
        (folder / "a").write_text("late")
        cache_folder(tmp_path, "name", [], 4, write_text)

    folder = cache_folder(tmp_path, "name", [], 4, overtaken)
    assert (folder / "a").read_text() == "text"
    assert list(tmp_path.iterdir()) == [folder]


def test_another_failure_to_rename_is_not_hidden(tmp_path):
    with pytest.raises(FileNotFoundError):
        cache_folder(tmp_path, "name", [], 4, lambda folder: folder.rmdir())


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Nothing can be written to .*file. Name another folder as cache_dir"):
        cache_folder(tmp_path / "file", "name", [], 4, write_text)


def test_a_full_disk_is_noticed_before_writing(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2_500_000_000))
    with pytest.raises(OSError, match=r"has 2\.5 GB free, but the images take 3\.0 GB"):
        cache_folder(tmp_path, "name", [], 3_000_000_000, write_text)
    assert not any(tmp_path.iterdir())
    assert cache_folder(tmp_path, "name", [], 2_500_000_000, write_text).is_dir()
