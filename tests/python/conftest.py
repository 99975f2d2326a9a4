"""What the tests of the Python package share: models of testdata and ../shared/models."""
import os
import pathlib

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("ESPALIER_SHARED") or ROOT / "../shared")


@pytest.fixture
def bandgru():
    """A stream of bands through GRU layers that were pruned in training: 90 % zeros in blocks of 16x1."""
    return str(ROOT / "testdata/bandgru/trained_16x1_90.onnx")


@pytest.fixture
def denoise():
    """A dense network of the same kind."""
    return str(ROOT / "testdata/bandgru/denoise.onnx")


@pytest.fixture
def shared_model():
    """The path of a model of ../shared/models; the test is skipped where there is none."""

    def path(name):
        found = SHARED / "models" / name / "model.onnx"
        if not found.exists():
            pytest.skip(f"../shared/models/{name} is absent")
        return str(found)

    return path


@pytest.fixture
def random():
    return np.random.default_rng(5)
