"""Fixtures that every room shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ecg_data() -> Path:
    """Folder of real ECGs, or a skip."""
    folder = os.environ.get("SSL_ECG_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("no real ECGs here: set SSL_ECG_DATA to the folder that holds ptbxl/, cpsc2018/, ludb/, cinc2011/")
    return Path(folder)


@pytest.fixture(scope="session")
def oracles(ecg_data: Path) -> Path:
    """Folder of results computed with independent packages, or a skip."""
    folder = ecg_data.parent / "oracles"
    if not folder.is_dir():
        pytest.skip("no oracles beside SSL_ECG_DATA")
    return folder
