"""The reports of finetune, evaluate, predict and compare: what they say, and how they look at two widths."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

import ssl_ecg
from ssl_ecg.backbones import Encoder
from ssl_ecg.verbs._examples import worst_errors

pytestmark = [pytest.mark.slow, pytest.mark.worst_errors]

NEW = ("Could the score be too good?", "Features in two dimensions", "Is acting on it worth while?")
CLASSES = ("sinus_rhythm", "sinus_bradycardia")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe, its evaluation and its predictions, of simulated ECGs; two errors are drawn."""
    root = tmp_path_factory.mktemp("results")
    archive = ssl_ecg.synthesize(root / "archive", records=120, seed=1, duration=5, workers=1)
    labels = archive.folder / "labels" / "conditions.csv"
    torch.manual_seed(0)
    encoder = Encoder("xresnet1d10", {"width": 4}, archive.settings).eval()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssl_ecg.verbs._examples.COUNT", 2)
        training = {"steps": 6, "evaluations": 2, "crop": None, "batch_size": 16}
        options = {"classes": CLASSES, "subgroups": ["sex"], "training": training, "progress": False}
        ssl_ecg.finetune(encoder, archive, labels, root / "finetune", **options)
        ssl_ecg.evaluate(root / "finetune", archive, labels, root / "evaluate", seen_patients="test")
    ssl_ecg.predict(root / "finetune", archive, root / "predict")
    return root


def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_holds_everything_and_loads_nothing(results: Path) -> None:
    text = page(results / "finetune")
    for said in (
        "Who they are",
        "Decisions",
        "Are probabilities",
        "Subgroups",
        "Training",
        "Versions",
        "80 % power",
        *NEW,
    ):
        assert said in text
    assert text.count("<img") == 2
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text) == []
    assert str(results) not in text
    macro = pd.read_json(results / "finetune" / "metrics.json", typ="series")["macro_auroc"]
    assert f"Macro AUROC {macro:.3f}" in text
    cohort = pd.read_csv(results / "finetune" / "cohort.csv").set_index("characteristic")
    assert list(cohort) == ["train", "validation", "test"]
    assert cohort.loc["records"].astype(int).sum() == 120
    assert "ssl-ecg evaluate" in page(results / "evaluate")
    assert "120 of 120 records scored" in page(results / "predict")


def test_the_worst_errors_are_furthest_from_their_label() -> None:
    targets = torch.tensor([[1.0, 0.0], [0.0, float("nan")], [1.0, 1.0]]).numpy()
    scores = torch.tensor([[0.9, 0.2], [0.6, 1.0], [0.3, 0.9]]).numpy()
    assert worst_errors(targets, scores, 2) == [(2, 0), (1, 0)]


@pytest.mark.process
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["finetune", "evaluate", "predict"])
def test_nothing_overflows_in_a_browser(results: Path, tmp_path: Path, name: str, width: int) -> None:
    """Screenshots go to ``SSL_ECG_SCREENSHOTS`` where it names a folder, to be looked at."""
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'ssl_ecg[dev]'")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium here: install chromium to look at reports")
    shots = Path(os.environ.get("SSL_ECG_SCREENSHOTS", tmp_path))
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 900})
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto((results / name / "report.html").as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        heading = tab.locator("table.sortable").last.locator("th").first
        heading.click()
        first = tab.locator("table.sortable").last.locator("tbody tr td:first-child").all_inner_texts()
        assert first == sorted(first)
        tab.screenshot(path=shots / f"{name}-{width}.png", full_page=True)
        browser.close()
