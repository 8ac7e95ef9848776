"""One torch thread and known seeds for every test."""

import random

import numpy as np
import pytest
import torch


def pytest_configure(config):
    # Small networks gain nothing from more threads, and sums are added up in the same order on every machine. Set here
    # and not in a fixture, so that it also holds for the doctests outside this folder.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed_globals():
    """The package draws from no global generator; other code that a test runs may."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
