"""The code that the documentation shows works, and the reference names every module."""

import pkgutil
import re
import runpy
from pathlib import Path

import pytest
import torch
from torchvision.models import ResNet

import skdmlpl

DOCS = Path(__file__).parents[1] / "docs"
SNIPPETS = sorted((DOCS / "snippets").glob("*.py"))


@pytest.mark.parametrize("path", SNIPPETS, ids=lambda path: path.stem)
def test_snippet_runs_and_beats_chance(path, capsys):
    runpy.run_path(str(path))
    accuracy = re.search(r"accuracy (\d\.\d+)", capsys.readouterr().out).group(1)
    assert float(accuracy) > 0.5  # five classes or more


def test_pretrained_features_are_of_pixels_as_the_network_was_trained_with():
    shown = runpy.run_path(str(DOCS / "snippets" / "pretrained_features.py"))
    (resnet,) = (m for m in shown["network"].modules() if isinstance(m, ResNet))
    images = torch.from_numpy(shown["images"][:2]) / 255
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    with torch.inference_mode():
        expected = resnet((images - mean) / std)  # gray, and three channels by the statistics
    torch.testing.assert_close(torch.from_numpy(shown["X"][:2]), expected)


def test_every_snippet_is_shown():
    pages = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("*.rst"))
    assert set(re.findall(r"literalinclude:: snippets/(\S+)", pages)) == {path.name for path in SNIPPETS}


def test_reference_lists_every_public_module():
    listed = re.findall(r"^   (skdmlpl[\w.]*)$", (DOCS / "api.rst").read_text(encoding="utf-8"), re.MULTILINE)
    public = [m.name for m in pkgutil.iter_modules(skdmlpl.__path__, "skdmlpl.") if "._" not in m.name]
    assert sorted(listed) == sorted(["skdmlpl", *public])
