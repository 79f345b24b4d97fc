"""Fixtures that every room shares."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import torch

import ssl_ecg
from ssl_ecg.archive import Archive
from ssl_ecg.records import LEADS

torch.set_num_threads(1)

# The key of the site is made in the user's configuration folder; tests have one of their own, as have the processes
# that they start.
_configuration = TemporaryDirectory(prefix="ssl_ecg-config-")
os.environ["XDG_CONFIG_HOME"] = _configuration.name
for _secret in ("SSL_ECG_SALT", "SSL_ECG_SITE_KEY", "SSL_ECG_SITE_KEY_FILE"):
    os.environ.pop(_secret, None)


@pytest.fixture(scope="session")
def ecg_data() -> Path:
    """Folder of real ECGs, or a skip."""
    folder = os.environ.get("SSL_ECG_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("no real ECGs here: set SSL_ECG_DATA to the folder that holds ptbxl/, cpsc2018/, ludb/, cinc2011/")
    return Path(folder)


@pytest.fixture(scope="session")
def read_oracle() -> Callable[[str], dict[str, np.ndarray]]:
    """A function that reads results computed with independent packages, by name (tests/oracles/README.md)."""
    folder = Path(__file__).parent / "oracles"

    def read(name: str) -> dict[str, np.ndarray]:
        if (path := folder / f"{name}.json").is_file():
            return {key: np.array(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}
        parts = [np.load(path, allow_pickle=False) for path in sorted(folder.glob(f"{name}*.npz"))]
        assert parts, f"there is no oracle {name}"
        if "ranks" in parts[0].files:  # parts of the columns
            return {key: np.concatenate([part[key] for part in parts], axis=1) for key in parts[0].files}
        return {key: part[key] for part in parts for key in part.files}

    return read


@pytest.fixture(scope="session")
def published_scores(read_oracle: Callable[[str], dict[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Labels of PTB-XL's 2,203 test records, and the ranks that a published xresnet1d101 gives them in a class."""
    oracle = read_oracle("ptbxl_all_xresnet1d101")
    return np.unpackbits(oracle["labels"], axis=0, count=len(oracle["ranks"])).astype(bool), oracle["ranks"]


@pytest.fixture(scope="session")
def heartbeat() -> Callable[..., np.ndarray]:
    """A function that draws a plain 12-lead ECG, float32 [12, samples] in millivolts, that obeys Einthoven's law."""

    def draw(sampling_rate: float = 500.0, seconds: float = 10.0, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        time = np.arange(round(sampling_rate * seconds)) / sampling_rate
        beats = np.arange(rng.uniform(0.1, 0.5), seconds + 1, rng.uniform(0.7, 1.0))
        waves = ((-0.16, 0.02, 0.1), (0.0, 0.012, 1.0), (0.03, 0.012, -0.3), (0.25, 0.05, 0.3))
        signal = np.zeros((12, len(time)))
        for delay, width, height in waves:
            shape = np.exp(-0.5 * ((time[:, None] - beats - delay) / width) ** 2).sum(axis=1)
            signal += height * rng.uniform(0.5, 1.5, (12, 1)) * shape
        signal += 0.01 * rng.standard_normal(signal.shape)
        one, two = signal[:2]
        signal[2:6] = two - one, -(one + two) / 2, one - two / 2, two - one / 2
        return signal.astype(np.float32)

    return draw


@pytest.fixture(scope="session")
def efron() -> Callable[..., float]:
    """A function that returns minus Cox's partial log-likelihood of coefficients [K], as Efron's paper writes it."""

    def likelihood(b: np.ndarray, x: np.ndarray, time: np.ndarray, event: np.ndarray) -> float:
        total = 0.0
        for day in np.unique(time[event]):
            tied = event & (time == day)
            at_risk, dying = np.exp(x[time >= day] @ b).sum(), np.exp(x[tied] @ b).sum()
            total += (x[tied] @ b).sum() - np.log(at_risk - np.arange(tied.sum()) / tied.sum() * dying).sum()
        return -total

    return likelihood


@pytest.fixture(scope="session")
def write_wfdb() -> Callable[..., Path]:
    """A function that writes a 12-lead recording as WFDB (1 microvolt a step) and returns its path without suffix."""

    def write(
        folder: Path, name: str, signal: np.ndarray, sampling_rate: float = 500, unit: str = "mV", comments: str = ""
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        np.rint(signal.T * 1000).astype("<i2").tofile(folder / f"{name}.dat")
        lines = [f"{name} {len(signal)} {sampling_rate:g} {signal.shape[1]}"]
        lines += [f"{name}.dat 16 1000(0)/{unit} 16 0 0 0 0 {lead}" for lead in LEADS[: len(signal)]]
        (folder / f"{name}.hea").write_text("\n".join(lines) + "\n" + comments, "utf-8")
        return folder / name

    return write


@pytest.fixture(scope="session")
def named_conditions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, pd.DataFrame]:
    """240 synthetic ECGs, with one label whose name means something in simulated hearts, and one whose does not."""
    folder = tmp_path_factory.mktemp("named") / "archive"
    ssl_ecg.synthesize(folder, records=240, seed=2, workers=1)
    table = pd.read_csv(folder / "labels" / "conditions.csv")
    named = {"atrial_fibrillation": "AF", "right_bundle_branch_block": "wide"}
    return ssl_ecg.open_archive(folder), table[["record_id", *named]].rename(columns=named)


@pytest.fixture(autouse=True)
def _no_worst_errors_on_paper(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing ECGs takes two seconds a result; the test of the report alone draws them."""
    if "worst_errors" not in request.keywords:
        monkeypatch.setattr("ssl_ecg.verbs._examples.COUNT", 0)
