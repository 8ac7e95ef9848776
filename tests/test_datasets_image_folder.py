import numpy as np
import pytest
from PIL import Image

from skdmlpl import DMLPseudoLabelClassifier
from skdmlpl.datasets import _image_folder as image_folder
from skdmlpl.datasets import load_image_folder

COLORS = {"cat": (200, 0, 0), "dog": (0, 200, 0), "unknown": (0, 0, 200)}


def save(path, color, shape=(12, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", shape, color).save(path)


@pytest.fixture
def root(tmp_path):
    """Seven images of three folders, in several formats and shapes; a folder's images have one colour."""
    root = tmp_path / "photos"
    for name, color in COLORS.items():
        save(root / name / "b.png", color)
        save(root / name / "a.bmp", color, shape=(9, 12))
    save(root / "dog" / "old" / "0.png", COLORS["dog"], shape=(1, 1))
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "README").write_text("no folder")
    return root


def test_images_labels_and_names_belong_together(root):
    data = load_image_folder(root, 8, unlabeled="unknown")
    assert data.target_names.tolist() == ["cat", "dog"]
    assert data.filenames.tolist() == [
        "cat/a.bmp", "cat/b.png", "dog/a.bmp", "dog/b.png", "dog/old/0.png", "unknown/a.bmp", "unknown/b.png",
    ]  # fmt: skip
    np.testing.assert_array_equal(data.y, [0, 0, 1, 1, 1, -1, -1])
    assert data.X.shape == (7, 3, 8, 8)
    assert data.X.dtype == np.uint8
    expected = [COLORS[name.split("/")[0]] for name in data.filenames]
    np.testing.assert_array_equal(data.X, np.broadcast_to(np.array(expected)[:, :, None, None], data.X.shape))


def test_a_folder_without_labels_is_a_class_unless_named(root):
    data = load_image_folder(root, 8)
    assert data.target_names.tolist() == ["cat", "dog", "unknown"]
    np.testing.assert_array_equal(data.y, [0, 0, 1, 1, 1, 2, 2])


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (40, 40)])
@pytest.mark.parametrize("size", [8, 20, 40, 80])
def test_images_are_those_of_torchvisions_transforms(tmp_path, rng, shape, size):
    """Shorter side to the size, then the central square."""
    from torchvision.transforms.functional import center_crop, resize

    image = Image.fromarray(rng.integers(256, size=(*shape, 3), dtype=np.uint8))
    (tmp_path / "photos" / "a").mkdir(parents=True)
    image.save(tmp_path / "photos" / "a" / "1.png")
    expected = np.asarray(center_crop(resize(image, size), size)).transpose(2, 0, 1)
    X = load_image_folder(tmp_path / "photos", size).X
    np.testing.assert_allclose(X[0], expected.astype(int), atol=1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_color_mode_becomes_rgb(tmp_path, mode):
    (tmp_path / "photos" / "a").mkdir(parents=True)
    Image.new(mode, (4, 4)).save(tmp_path / "photos" / "a" / "1.tif")
    assert load_image_folder(tmp_path / "photos", 4).X.shape == (1, 3, 4, 4)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_pixels_of_more_than_8_bits_are_refused(tmp_path, mode):
    (tmp_path / "photos" / "a").mkdir(parents=True)
    Image.new(mode, (4, 4)).save(tmp_path / "photos" / "a" / "1.tif")
    with pytest.raises(ValueError, match=r"a/1\.tif cannot be read as an image: its pixels are of more than 8 bits"):
        load_image_folder(tmp_path / "photos", 4)


def test_photos_are_turned_upright(tmp_path):
    """The tag of the orientation says that the stored image must be turned by 90 degrees, clockwise."""
    lying = np.zeros((4, 4, 3), dtype=np.uint8)
    lying[:, 0] = 255  # its left becomes the top
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "photos" / "a").mkdir(parents=True)
    Image.fromarray(lying).save(tmp_path / "photos" / "a" / "1.png", exif=exif)
    X = load_image_folder(tmp_path / "photos", 4).X
    assert (X[0, :, 0] == 255).all()
    assert not X[0, :, 1:].any()


def test_hidden_folders_and_files_are_left_out(root):
    before = load_image_folder(root, 8)
    (root / ".ipynb_checkpoints").mkdir()
    save(root / "cat" / ".ipynb_checkpoints" / "a.png", COLORS["cat"])
    (root / "dog" / "._b.png").write_bytes(b"no image")
    data = load_image_folder(root, 8)
    assert data.target_names.tolist() == ["cat", "dog", "unknown"]
    assert data.filenames.tolist() == before.filenames.tolist()


def test_other_images_of_the_same_names_are_read_anew(tmp_path):
    for name, color in (("train", 10), ("test", 200)):
        save(tmp_path / name / "a" / "0.png", (color, color, color))
        np.testing.assert_array_equal(np.unique(load_image_folder(tmp_path / name, 4).X), [color])
    save(tmp_path / "test" / "a" / "0.png", (90, 90, 90), shape=(30, 30))
    assert (load_image_folder(tmp_path / "test", 4).X == 90).all()


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_blocks_and_threads_keep_the_order(root, monkeypatch, n_jobs):
    expected = np.array(load_image_folder(root, 8).X)
    monkeypatch.setattr(image_folder, "_BLOCK", 3)
    np.testing.assert_array_equal(load_image_folder(root, 8, cache_dir=root.parent / "new", n_jobs=n_jobs).X, expected)


def test_the_file_is_written_once_and_beside_the_folder(root, monkeypatch):
    first = load_image_folder(root, 8)
    assert isinstance(first.X, np.memmap)
    assert not first.X.flags.writeable
    (cache,) = (path for path in root.parent.iterdir() if path != root)
    assert cache.name.startswith("image-folder-8px-")

    monkeypatch.setattr(image_folder, "_read_image", None)  # a second reading would fail
    again = load_image_folder(str(root), 8)
    np.testing.assert_array_equal(again.X, first.X)
    np.testing.assert_array_equal(again.y, first.y)


@pytest.mark.parametrize("place", [".", "cat/cache"])
def test_the_file_is_not_written_among_the_classes(root, place):
    before = sorted(root.rglob("*"))
    with pytest.raises(ValueError, match="cache_dir must not lie in root"):
        load_image_folder(root, 8, cache_dir=root / place)
    assert sorted(root.rglob("*")) == before


def test_another_size_or_another_list_of_images_is_read_anew(root, tmp_path):
    load_image_folder(root, 8, cache_dir=tmp_path / "cache")
    assert load_image_folder(root, 6, cache_dir=tmp_path / "cache").X.shape == (7, 3, 6, 6)
    save(root / "cat" / "c.png", COLORS["cat"])
    assert load_image_folder(root, 8, cache_dir=tmp_path / "cache").X.shape == (8, 3, 8, 8)
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.mark.parametrize("length", [0, 6, 60, 1000])
def test_a_damaged_image_is_named_and_nothing_is_left(root, rng, length):
    path = root / "dog" / "b.jpg"
    Image.fromarray(rng.integers(256, size=(40, 40, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"photos/dog/b\.jpg cannot be read as an image"):
        load_image_folder(root, 8)
    assert list(root.parent.iterdir()) == [root]


def test_a_lack_of_memory_is_not_called_damage(root, monkeypatch):
    def too_large(path):
        raise MemoryError

    monkeypatch.setattr(Image, "open", too_large)
    with pytest.raises(MemoryError):
        load_image_folder(root, 8)


def test_missing_folders_and_images_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        load_image_folder(tmp_path / "nowhere", 8)
    with pytest.raises(FileNotFoundError, match=r"one folder for each class\. Got \[\]"):
        load_image_folder(root / "cat", 8)
    with pytest.raises(FileNotFoundError, match=r"one folder for each class and the folder 'none'\. Got .'cat', 'dog'"):
        load_image_folder(root, 8, unlabeled="none")
    (root / "fish").mkdir()
    for name in ("note.txt", "._1.png"):  # no image, and a hidden one
        (root / "fish" / name).touch()
        with pytest.raises(FileNotFoundError, match=r"photos must hold images of every class\. Found none in fish,"):
            load_image_folder(root, 8)


@pytest.mark.parametrize("size, error", [(0, ValueError), (8.0, TypeError)])
def test_size_is_checked(root, size, error):
    with pytest.raises(error, match="size"):
        load_image_folder(root, size)


def test_an_estimator_takes_the_memory_map(root):
    data = load_image_folder(root, 8, unlabeled="unknown")
    clf = DMLPseudoLabelClassifier(max_rounds=1, n_steps=2, n_neighbors=1, random_state=0).fit(data.X, data.y)
    np.testing.assert_array_equal(clf.transduction_[:5], data.y[:5])
    assert set(clf.transduction_[5:]) <= {0, 1}
