"""Kills at random moments, full disks and closed folders: the same command goes on, to the same bytes.

``SSL_ECG_KILLS=25 pytest tests/test_kills.py`` kills each verb 25 times.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks"),
]

KILLS = int(os.environ.get("SSL_ECG_KILLS", "2"))
SIZES = (0, 300, 3_000, 30_000, 200_000)  # bytes that a file may have on the disk that is full
NETWORK = ("backbone=xresnet1d10", "backbone.width=4", "precision=32-true")
STEPS = ("steps=6", "batch_size=16", "evaluations=3")
LINES = {
    "ingest": ("ingest", "{desk}/ecgs", "{out}", "workers=2", "duration=5"),
    "synthesize": ("synthesize", "{out}", "records=200", "duration=5", "workers=1"),
    "pretrain": (
        "pretrain",
        "{desk}/archive",
        "{out}",
        *NETWORK,
        "epochs=6",
        "batch_size=16",
        "warmup_epochs=0",
        "holdout={desk}/labels.csv",
        "split.test=0.3",
    ),
    "finetune": (
        *(
            "finetune",
            "none",
            "{desk}/archive",
            "{desk}/labels.csv",
            "{out}",
            "classes=[sinus_rhythm]",
            "split.test=0.3",
        ),
        *(*NETWORK[:2], *(f"training.{step}" for step in STEPS)),
    ),
    "distil": (
        *("distil", "{desk}/model", "{desk}/archive", "{desk}/labels.csv", "{out}", "leads=[I,II]"),
        *("backbone.width=2", *(f"training.{step}" for step in STEPS)),
    ),
    "compare": (
        *("compare", "{desk}/encoder", "{desk}/archive", "{desk}/labels.csv", "{out}", "classes=[sinus_rhythm]"),
        *("split.test=0.3", "fractions=[1]", "seeds=[0]", "replicates=20"),
        *("pretrained_candidates=[{{}}]", "scratch_candidates=[{{}}]"),
        *(f"{arm}.{step}" for arm in ("pretrained_finetune", "scratch") for step in STEPS),
    ),
    "predict": ("predict", "{desk}/model", "{desk}/ecgs", "{out}", "workers=1"),
}


@pytest.fixture(scope="module")
def driver() -> Iterator[Callable[..., dict[str, Any]]]:
    """A function that asks the process below ``__main__`` for something, and returns what it says."""
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        asked, answered = process.stdin, process.stdout
        assert asked and answered  # noqa: PT018

        def ask(what: str, verb: str, desk: Path, out: Path, **how: Any) -> dict[str, Any]:
            line = [word.format(desk=desk, out="{out}") for word in LINES[verb]] + how.pop("more", [])
            asked.write(json.dumps({"what": what, "line": line, "out": str(out), **how}) + "\n")
            asked.flush()
            answer: dict[str, Any] = json.loads(answered.readline())
            assert "failed" not in answer, answer["failed"]
            return answer

        yield ask
        asked.close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, driver, heartbeat, write_wfdb) -> Path:
    """Recordings, an archive with labels, an encoder and a model."""
    folder = tmp_path_factory.mktemp("desk")
    for i in range(20):
        write_wfdb(folder / "ecgs", f"r{i:02d}", np.zeros((12, 500)) if i % 7 == 3 else heartbeat(100, 5, seed=i), 100)
    driver("make", "synthesize", folder, folder / "archive", more=["records=80"])
    shutil.copy(folder / "archive" / "labels" / "conditions.csv", folder / "labels.csv")
    driver("make", "pretrain", folder, folder / "encoder", more=["epochs=1"])
    driver("make", "finetune", folder, folder / "model")
    return folder


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system than that of temporary files, where there is one."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() and os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("verb", LINES)
def test_killed_at_random_moments(verb: str, desk: Path, elsewhere: Path, driver) -> None:
    found = driver("kill", verb, desk, elsewhere / "out", kills=KILLS, seed=KILLS)
    assert found["differ"] == []
    assert found["killed"] or KILLS < 5
    print(verb, found)  # noqa: T201


@pytest.mark.parametrize("verb", LINES)
def test_full_disk_then_the_same_command(verb: str, desk: Path, elsewhere: Path, driver) -> None:
    found = driver("fill", verb, desk, elsewhere / "out", sizes=SIZES)
    assert found["differ"] == []
    assert found["errors"]
    for error in found["errors"]:
        assert str(elsewhere) in error, error
        assert "make room there" in error, error
        assert error.count("\n") == 1, error


@pytest.mark.parametrize("verb", LINES)
def test_folder_that_cannot_be_written(verb: str, desk: Path, tmp_path: Path, driver) -> None:
    (tmp_path / "file").write_text("")
    (error,) = driver("close", verb, desk, tmp_path / "file" / "out")["errors"]
    assert str(tmp_path / "file") in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


# What follows runs in a process that has imported everything once, and forks for each try.


def contents(folder: Path) -> dict[str, str]:
    """Return a hash of each file, without times, and without the page that is drawn from the tables beside it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".html")
    return {str(path.relative_to(folder)): hashlib.sha256(timeless(path)).hexdigest() for path in files}


def timeless(path: Path) -> bytes:
    """Return what a file holds, without the columns, keys and lines of cards that tell how long something took."""
    content = path.read_bytes()
    if path.suffix == ".json":
        pairs = json.loads(content, object_pairs_hook=lambda pairs: [pair for pair in pairs if pair[0] != "seconds"])
        return json.dumps(pairs).encode()
    if path.suffix == ".csv":
        rows = list(csv.reader(content.decode().splitlines()))
        kept = [place for place, name in enumerate(rows[0]) if name not in ("seconds", "ecg_per_second")]
        return json.dumps([[row[place] for place in kept] for row in rows]).encode()
    if path.name == "README.md":
        return b"\n".join(line for line in content.splitlines() if not line.startswith(b"| training steps |"))
    return content


class Try:
    """A command line in a process of its own, the first of its group.

    Args:
        words: of the command line.
        limit: bytes that each of its files may have.
    """

    def __init__(self, words: list[str], limit: int | None = None) -> None:
        read, write = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            self._run(words, write, limit)
        os.close(write)
        self._said: list[bytes] = []
        self._reader = threading.Thread(target=self._read, args=(read,))
        self._reader.start()

    def _run(self, words: list[str], write: int, limit: int | None) -> None:
        status = 70
        try:
            os.setsid()
            os.dup2(write, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if limit is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            from ssl_ecg.cli import main

            status = main(words)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _read(self, pipe: int) -> None:
        with open(pipe, "rb") as file:
            self._said.append(file.read())

    def end(self) -> int:
        """Wait for the process and for all that it started."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with suppress(ProcessLookupError):
            while True:
                os.killpg(self.pid, 0)
                time.sleep(0.01)
        self._reader.join()
        return status

    @property
    def error(self) -> str:
        """What it ended with: all from its error on."""
        text = b"".join(self._said).decode("utf-8", "replace")
        return text if "Traceback" in text else text[max(text.rfind("ssl-ecg "), 0) :]


class Driver:
    """Has command lines killed, and ends them by full disks and closed folders."""

    def __init__(self) -> None:
        verbs = [f"ssl_ecg.verbs.{verb}" for verb in LINES]
        for name in (
            *verbs,
            "ssl_ecg.training",
            "ssl_ecg.tasks",
            "torch._dynamo",
            "lightly.utils.scheduler",
            "timm.optim",
        ):
            importlib.import_module(name)
        sys.modules["ssl_ecg.archive.ingest"].RECORDS_PER_PART = 4  # type: ignore[attr-defined]
        tempfile.gettempdir()  # only the disk of results is full, not that of temporary files
        self.known: dict[str, tuple[dict[str, str], float]] = {}

    def make(self, line: list[str], out: Path) -> dict[str, Any]:
        """Have a command line succeed."""
        return {"made": len(self._succeed(line, out))}

    def close(self, line: list[str], out: Path) -> dict[str, Any]:
        """Have it refused."""
        tried = self._begin(line, out)
        assert tried.end() == 2, tried.error
        return {"errors": [tried.error]}

    def kill(self, line: list[str], out: Path, kills: int, seed: int) -> dict[str, Any]:
        """Kill it at random moments, each time followed by the same command."""
        (_, seconds), chance, killed, differ = self._whole(line, out), random.Random(seed), 0, set()
        for _ in range(kills):
            tried = self._begin(line, out)
            time.sleep(chance.uniform(0, seconds))
            os.kill(tried.pid, signal.SIGKILL)
            killed += tried.end() == -signal.SIGKILL
            differ |= self._differ(line, out)
        return {"killed": killed, "seconds": round(seconds, 2), "differ": sorted(differ)}

    def fill(self, line: list[str], out: Path, sizes: list[int]) -> dict[str, Any]:
        """Let its files have so many bytes each at most, each time followed by the same command without a limit."""
        errors, differ = [], set()
        for size in sizes:
            tried = self._begin(line, out, size)
            if tried.end() != 0:
                errors.append(tried.error)
            differ |= self._differ(line, out)
        return {"errors": errors, "differ": sorted(differ)}

    def _begin(self, line: list[str], out: Path, limit: int | None = None) -> Try:
        return Try([word.replace("{out}", str(out)) for word in line], limit)

    def _succeed(self, line: list[str], out: Path) -> dict[str, str]:
        tried = self._begin(line, out)
        assert tried.end() == 0, tried.error
        return contents(out)

    def _whole(self, line: list[str], out: Path) -> tuple[dict[str, str], float]:
        """Return what a process that nothing hinders leaves, and how long it takes."""
        if line[0] not in self.known:
            began = time.monotonic()
            # Under the same name, since results tell the command.
            self.known[line[0]] = self._succeed(line, out.parent / "whole" / out.name), time.monotonic() - began
        return self.known[line[0]]

    def _differ(self, line: list[str], out: Path) -> set[str]:
        """Name the files that the same command leaves otherwise than a process that nothing hinders."""
        (wanted, _), found = self._whole(line, out), self._succeed(line, out)
        shutil.rmtree(out)
        return {name for name in {*found, *wanted} if found.get(name) != wanted.get(name)}


def answer(driver: Driver, asked: str) -> dict[str, Any]:
    given = json.loads(asked)
    try:
        found: dict[str, Any] = getattr(driver, given.pop("what"))(given.pop("line"), Path(given.pop("out")), **given)
    except Exception:
        return {"failed": traceback.format_exc()}
    return found


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    everything = Driver()
    for asked in sys.stdin:
        print(json.dumps(answer(everything, asked)), flush=True)  # noqa: T201
