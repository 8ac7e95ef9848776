# One virtual environment, .venv, in the checkout. PYTHON chooses the interpreter it is made from (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
# All figures are written to files or not at all: no display is needed.
export MPLBACKEND := Agg

.PHONY: help venv demo test doctest lint format docs clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo "make demo     long-tailed digits: what the unlabelled rows add (the first run also installs)"
	@echo "make test     all tests and doctests, with coverage"
	@echo "make doctest  the examples in docstrings, README.md and docs only"
	@echo "make lint     check style and formatting; 'make format' repairs what can be repaired"
	@echo "make docs     HTML pages in docs/_build/html"
	@echo "make venv     install everything the targets above need"
	@echo "make clean    remove what the targets above made, except .venv"

# The package with what the demo needs; the other targets add their extras to the same environment.
.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[plot]"
	@touch $@

.venv/.installed-%: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$*]"
	@touch $@

venv: .venv/.installed .venv/.installed-test .venv/.installed-lint .venv/.installed-docs .venv/.installed-benchmark

demo: .venv/.installed
	$(BIN)/python examples/plot_long_tailed_digits.py

test: .venv/.installed-test
	$(BIN)/python -m pytest --quiet --numprocesses auto --cov --cov-report=term --durations=10

doctest: .venv/.installed-test
	$(BIN)/python -m pytest --quiet skdmlpl README.md docs/*.rst

lint: .venv/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Reference pages of names that are gone would stay behind, and Sphinx would warn of them.
docs: .venv/.installed-docs
	rm -rf docs/api/generated
	$(BIN)/python -m sphinx --fresh-env -W --keep-going --quiet -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf build dist *.egg-info .coverage htmlcov .pytest_cache .ruff_cache
	rm -rf docs/_build docs/api/generated docs/auto_examples docs/sg_execution_times.rst
	find skdmlpl tests examples docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
