from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from ssl_ecg.training.progress import TotalProgress, bar

WIDTH = 80


def terminal() -> Console:
    return Console(file=io.StringIO(), width=WIDTH, force_terminal=True, color_system=None)


def frames(console: Console) -> list[str]:
    """Each state of the line that was shown; rich goes back to the begin of a line to write the next."""
    assert isinstance(console.file, io.StringIO)
    text = re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]", "", console.file.getvalue())
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()]


def test_a_long_line_is_cut_and_not_folded() -> None:
    console = terminal()
    with bar(True, console) as shown:
        job = shown.add_task("epoch 12/100", total=123456, numbers="validation_macro_auroc 0.987 " * 9)
        shown.advance(job, 1000)
        shown.refresh()
    lines = frames(console)
    assert all(line.startswith("epoch 12/100") for line in lines)
    assert max(map(len, lines)) <= WIDTH
    assert "1000/123456" in lines[-1]
    assert "…" in lines[-1]


def test_nothing_is_shown_where_it_is_not_wanted() -> None:
    console = terminal()
    with bar(False, console) as shown:
        shown.add_task("training", total=3, numbers="")
    assert frames(console) == []


@pytest.mark.slow
def test_a_training_shows_its_whole_and_what_is_left(labelled, tiny_finetuning, monkeypatch) -> None:
    from ssl_ecg.training import finetune

    console = terminal()
    monkeypatch.setattr("ssl_ecg.training.engine.TotalProgress", lambda: TotalProgress(console))
    monkeypatch.setattr("ssl_ecg.training.progress.LEAST", 0.0)
    parts = labelled.encoder, labelled.task, labelled.archive, labelled.train, labelled.validation
    finetune(*parts, tiny_finetuning, progress=True)
    lines = frames(console)
    assert max(map(len, lines)) <= WIDTH
    assert "8/8" in lines[-1]
    assert "validation_macro_auroc" in lines[-1]
    assert re.search(r"\d:\d\d:\d\d", lines[-1])
