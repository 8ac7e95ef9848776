"""Sphinx settings. ``make docs`` treats every warning as an error."""

import enum
from pathlib import Path

import torch

import skdmlpl

# For the examples of the gallery: small networks gain nothing from more threads, and on a busy machine the threads wait
# for one another.
torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]

project = "skdmlpl"
author = "the skdmlpl developers"
copyright = "2026, the skdmlpl developers"
version = release = skdmlpl.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "snippets", "_templates"]
default_role = "py:obj"
highlight_language = "python"

# The reference is made from each module's __all__; docs/api.rst names the modules only.
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False  # the class template lists them

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["auto_examples"],
    "backreferences_dir": "auto_examples/backreferences",
    "doc_module": ("skdmlpl",),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "plot_gallery": True,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
}

extlinks = {"arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"), "doi": ("https://doi.org/%s", "doi:%s")}

html_theme = "pydata_sphinx_theme"
html_title = "skdmlpl"
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False, "show_prev_next": False}
# Pages without others below them would have an empty column on the left.
html_sidebars = {page: [] for page in ("index", "user_guide", "benchmarks", "contributing", "changelog")}
html_static_path = ["_static"]
html_css_files = ["columns.css"]


def skip_foreign_members(app, what, name, obj, skip, options):
    """Leave out what a class inherits from other packages, and fields, which its docstring describes."""
    if what != "class" or isinstance(obj, enum.Enum):
        return skip
    function = obj.fget if isinstance(obj, property) else obj
    module = getattr(function, "__module__", None) or ""
    return skip or not callable(function) or not module.startswith("skdmlpl")


def hide_signatures_of_what_is_not_called(app, what, name, obj, options, signature, return_annotation):
    """Protocols are not instantiated, and enumerations by value only."""
    if what == "class" and (getattr(obj, "_is_protocol", False) or issubclass(obj, enum.Enum)):
        return "", None
    return signature, return_annotation


def append_results(app, docname, source):
    """Put what the benchmark scripts wrote at the end of the benchmark page: tables, and the plots of the same kind."""
    if docname == "benchmarks":
        results = ROOT / "benchmarks" / "results"
        for table in sorted(results.glob("*.md")):
            source[0] += f"\n.. include:: ../benchmarks/results/{table.name}\n   :parser: myst_parser.sphinx_\n"
            for plot in sorted(results.glob(f"{table.stem}-*.png")):
                source[0] += f"\n.. image:: ../benchmarks/results/{plot.name}\n   :alt: {plot.stem}\n"


def setup(app):
    app.connect("autodoc-skip-member", skip_foreign_members)
    app.connect("autodoc-process-signature", hide_signatures_of_what_is_not_called)
    app.connect("source-read", append_results)
