"""Who may import whom: the parts do not know the method, and the method knows no part."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skdmlpl

PACKAGE = Path(skdmlpl.__file__).parent


def module_name(path):
    """Return the name of a module within ``skdmlpl``; that of a folder stands for its ``__init__``."""
    *folders, stem = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(folders if folders and stem == "__init__" else [*folders, stem])


FILES = {module_name(path): path for path in PACKAGE.rglob("*.py")}
MODULES = sorted(FILES)

CONCRETE_PARTS = {
    "backbones", "_mlp", "_small_convnet", "_image_layers", "losses", "selectors", "augmentations", "neighbors"
}  # fmt: skip
PARTS = CONCRETE_PARTS | {"samplers", "_block_search", "_moments", "_normal_scores", "_relevance"}
METHOD = {"_rounds", "_objectives", "_training", "_optimizer", "_network", "_rows", "_prior"}
# What both stand on.
SHARED = {"interfaces", "_label_spreading"}
# ``_parts`` chooses the built-in ones; the defaults depend on which tables count as wide; spreading and density need
# neighbours.
USED_BY = {
    "_label_spreading": {"neighbors"},
    "_parts": {"_mlp", "_small_convnet", "losses", "selectors", "augmentations"},
    "_defaults": {"_mlp"},
    "inspection._suggestions": {"neighbors"},
}
# scikit-learn's developer guide names it for the ``fit`` of estimators outside scikit-learn.
DOCUMENTED_PRIVATE_NAMES = {("_classifier", "sklearn.base", "_fit_context")}


def imported_names(source):
    """Return (module, name) of every import in a source, anywhere in it; name is None for ``import module``."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            found |= {(node.module, alias.name) for alias in node.names}
    return found


def siblings(source):
    """Return the modules of this package that a source imports; ``skdmlpl`` is the package itself."""
    found = set()
    for module, name in imported_names(source):
        if module == "skdmlpl":
            found.add(name if name in FILES else "skdmlpl")
        elif module.startswith("skdmlpl."):
            found.add(module.split(".")[1])
    return found


def private_names_of_scikit_learn(source):
    return {
        (module, name)
        for module, name in imported_names(source)
        if module.split(".")[0] == "sklearn"
        and any(word.startswith("_") for word in [*module.split("."), *([name] if name else [])])
    }


def source_of(module):
    return FILES[module].read_text(encoding="utf-8")


def test_imports_are_found_in_all_forms():
    source = """
import numpy, skdmlpl.losses
import sklearn.utils._tags
from skdmlpl import __version__, selectors as s
from skdmlpl._rows import Rows
from sklearn.utils._param_validation import Interval
from sklearn.base import _fit_context, clone
def late():
    from skdmlpl.neighbors import knn_graph
"""
    assert siblings(source) == {"losses", "selectors", "skdmlpl", "_rows", "neighbors"}
    assert private_names_of_scikit_learn(source) == {
        ("sklearn.utils._tags", None),
        ("sklearn.utils._param_validation", "Interval"),
        ("sklearn.base", "_fit_context"),
    }
    with pytest.raises(AssertionError, match="relative"):
        siblings("from . import losses")


def test_the_modules_spoken_of_exist():
    assert set(MODULES) >= PARTS | METHOD | SHARED | {"__init__", "_validation", "_folds"} | set(USED_BY)


def test_interfaces_import_nothing_of_the_package():
    assert siblings(source_of("interfaces")) == set()


@pytest.mark.parametrize("module", sorted(PARTS))
def test_parts_know_interfaces_and_other_parts_only(module):
    assert siblings(source_of(module)) <= SHARED | {"_validation"} | PARTS


@pytest.mark.parametrize("module", sorted(METHOD))
def test_the_method_knows_no_part(module):
    assert siblings(source_of(module)) <= SHARED | {"samplers", "_folds"} | METHOD


@pytest.mark.parametrize("module", sorted(set(MODULES) - PARTS - set(USED_BY)))
def test_parts_are_chosen_in_one_module(module):
    assert not siblings(source_of(module)) & CONCRETE_PARTS


@pytest.mark.parametrize("module", USED_BY)
def test_the_few_that_need_a_part_by_name_use_no_other(module):
    assert siblings(source_of(module)) & CONCRETE_PARTS == USED_BY[module]


@pytest.mark.parametrize("module", [module for module in MODULES if module.split(".")[0] == "datasets"])
def test_data_sets_know_nothing_of_the_rest(module):
    assert siblings(source_of(module)) <= {"datasets"}


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"__init__"}))
def test_nothing_but_the_package_imports_the_classifier(module):
    assert not siblings(source_of(module)) & {"_classifier", "skdmlpl"}


@pytest.mark.parametrize("module", MODULES)
def test_names_that_scikit_learn_does_not_document_are_imported_in_one_module(module):
    private = {(module, *names) for names in private_names_of_scikit_learn(source_of(module))}
    if module == "_validation":
        assert private  # else the rule has lost its object
    else:
        assert private <= DOCUMENTED_PRIVATE_NAMES


@pytest.mark.parametrize("modules", ["skdmlpl", ", ".join(f"skdmlpl.{m}" for m in MODULES if m != "__init__")])
def test_import_loads_no_heavy_package(modules):
    # What scikit-learn and torch load by themselves (pandas, where it is installed) is theirs to decide.
    code = f"""
import sys
import sklearn.base, torch
before = set(sys.modules)
import {modules}
heavy = {{"torchvision", "numba", "pynndescent", "pandas", "matplotlib"}}
sys.exit(", ".join(heavy & (set(sys.modules) - before)) or 0)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_import_leaves_the_global_state_alone():
    code = """
import random, sys, warnings
import numpy, sklearn.base, sklearn.callback, torch  # importing callbacks draws from "random"
def state():
    numpy_state = numpy.random.get_state()
    return (random.getstate(), numpy_state[1].tolist(), numpy_state[2], torch.get_rng_state().tolist(),
            torch.get_num_threads(), torch.get_default_dtype(), list(warnings.filters))
before = state()
import skdmlpl
sys.exit(state() != before)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
