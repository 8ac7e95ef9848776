"""Every public name is documented as numpydoc has it: parameters, types, shapes, what is returned, an example."""

import importlib
import inspect
import pkgutil
import re

import pytest

import skdmlpl

MODULES = ["skdmlpl", *(m.name for m in pkgutil.iter_modules(skdmlpl.__path__, "skdmlpl.") if "._" not in m.name)]
# Words by which the type of an array is known; each has to come with a shape.
ARRAY = re.compile(r"\b(ndarray|array-like|Tensor)\b")
ENTRY = re.compile(r"^(\S.*?)(?: : (.*))?$")


def public_objects():
    """Yield the qualified name of each public class and function, of each public method, and the object."""
    for module in MODULES:
        namespace = importlib.import_module(module)
        for name in namespace.__all__:
            thing = getattr(namespace, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield f"{module}.{name}", thing
            if inspect.isclass(thing):
                for member, value in vars(thing).items():
                    if is_documented_member(member, value):
                        yield f"{module}.{name}.{member}", getattr(value, "__func__", value)


def is_documented_member(name, value):
    if name.startswith("_") and name != "__call__":
        return False
    return inspect.isfunction(value) or isinstance(value, classmethod | staticmethod | property)


OBJECTS = dict(public_objects())
TOP_LEVEL = [name for name in OBJECTS if name.rpartition(".")[0] in MODULES]
CALLABLES = [name for name, thing in OBJECTS.items() if inspect.isfunction(thing)]
DESCRIBED = sorted({*TOP_LEVEL, *CALLABLES})


def sections(thing):
    """Return the parts of a docstring by title; the text before the first title is under ''."""
    titled = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.getdoc(thing) or "", flags=re.MULTILINE)
    return {"": titled[0]} | dict(zip(titled[1::2], titled[2::2], strict=True))


def entries(section):
    """Return (names, type) of each entry of a section such as Parameters; type is None where there is none."""
    found = []
    for line in section.splitlines():
        if line and not line.startswith(" ") and not line.startswith(".."):
            names, kind = ENTRY.match(line).groups()
            found.append(([name.strip().lstrip("*\\") for name in names.split(",")], kind))
    return found


def parameters(thing):
    """Return the names of what can be passed, without ``self``."""
    function = thing.__init__ if inspect.isclass(thing) else thing
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


def has_own_constructor(thing):
    """Neither a record, whose fields are documented as attributes, nor a protocol or an enumeration."""
    return (
        "__init__" in vars(thing)
        and not hasattr(thing, "__dataclass_fields__")
        and not getattr(thing, "_is_protocol", False)
    )


def record_fields(thing):
    return list(getattr(thing, "_fields", getattr(thing, "__dataclass_fields__", ())))


def defers(thing):
    """A method may say that it does what the protocol says; a short docstring names the place."""
    return re.search(r"\bsee :meth:`skdmlpl\.interfaces\.\w+\.\w+`", inspect.getdoc(thing) or "")


def test_objects_are_found():
    assert {"skdmlpl.DMLPseudoLabelClassifier.fit", "skdmlpl.plotting.RecallDisplay.from_predictions"} <= set(CALLABLES)
    assert "skdmlpl.interfaces.RoundRecord.class_counts" in OBJECTS
    assert len(TOP_LEVEL) > 40


@pytest.mark.parametrize("name", OBJECTS)
def test_first_line_is_a_sentence(name):
    first = (inspect.getdoc(OBJECTS[name]) or "").partition("\n")[0]
    assert re.fullmatch(r"[A-Z0-9`:].*\.", first), f"{name} starts with {first!r}"


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_there_is_a_runnable_example(name):
    assert ">>> " in sections(OBJECTS[name]).get("Examples", "")


@pytest.mark.parametrize("name", DESCRIBED)
def test_all_parameters_are_described_in_order_with_types(name):
    thing = OBJECTS[name]
    if inspect.isclass(thing) and not has_own_constructor(thing):
        expected, described = record_fields(thing), sections(thing).get("Attributes", "")
    elif defers(thing):
        return
    else:
        expected, described = parameters(thing), sections(thing).get("Parameters", "")
    found = entries(described)
    assert sorted(n for names, _ in found for n in names) == sorted(expected)
    assert all(kind for _, kind in found), "a parameter without a type"


@pytest.mark.parametrize("name", OBJECTS)
def test_arrays_have_shapes(name):
    found = sections(OBJECTS[name])
    for title in ("Parameters", "Attributes", "Returns", "Yields"):
        for names, kind in entries(found.get(title, "")):
            said = kind or " ".join(names)
            assert not ARRAY.search(said) or "of shape" in said, f"{title}: {names}: {said}"


@pytest.mark.parametrize("name", CALLABLES)
def test_what_is_returned_is_described(name):
    thing = OBJECTS[name]
    annotated = inspect.signature(thing).return_annotation
    nothing = annotated in (None, "None") or name.startswith("skdmlpl.checks.")
    found = sections(thing)
    assert nothing or defers(thing) or "Returns" in found or "Yields" in found


@pytest.mark.parametrize("name", CALLABLES)
def test_errors_that_are_raised_here_are_described(name):
    """By the ``raise`` statements in its own source; what a called function raises cannot be seen from here."""
    raised = set(re.findall(r"\braise (\w+)\(", inspect.getsource(OBJECTS[name])))
    described = sections(OBJECTS[name]).get("Raises", "")
    assert not {error for error in raised if not re.search(rf"\b{error}\b", described)}
