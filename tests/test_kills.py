"""Kills at random moments, full disks and closed folders: the same command goes on, to the same bytes.

``SSL_ECG_KILLS=25 pytest tests/test_kills.py`` kills each verb 25 times.
"""

from __future__ import annotations

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
from collections.abc import Iterator
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
    "compare": (
        *("compare", "{desk}/encoder", "{desk}/archive", "{desk}/labels.csv", "{out}", "classes=[sinus_rhythm]"),
        *("split.test=0.3", "fractions=[1]", "seeds=[0,1]", "replicates=20"),
        *("pretrained_candidates=[{{}}]", "scratch_candidates=[{{}}]"),
        *(f"{arm}.{step}" for arm in ("pretrained_finetune", "scratch") for step in STEPS),
    ),
    "predict": ("predict", "{desk}/model", "{desk}/ecgs", "{out}", "workers=1"),
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, heartbeat, write_wfdb) -> Path:
    """Recordings, an archive with labels, an encoder and a model."""
    folder = tmp_path_factory.mktemp("desk")
    for i in range(40):
        write_wfdb(folder / "ecgs", f"r{i:02d}", np.zeros((12, 500)) if i % 7 == 3 else heartbeat(100, 5, seed=i), 100)
    fill(LINES["synthesize"], folder, folder / "archive", "records=80")
    shutil.copy(folder / "archive" / "labels" / "conditions.csv", folder / "labels.csv")
    fill(LINES["pretrain"], folder, folder / "encoder", "epochs=1")
    fill(LINES["finetune"], folder, folder / "model")
    return folder


def fill(line: tuple[str, ...], desk: Path, out: Path, *more: str) -> None:
    words = [word.format(desk=desk, out=out) for word in (*line, *more)]
    subprocess.run([sys.executable, "-m", "ssl_ecg", *words], check=True, capture_output=True)


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system than that of temporary files, where there is one."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() and os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


def drive(what: str, verb: str, desk: Path, out: Path, **more: object) -> dict[str, object]:
    """Let a process of its own do what is below ``__main__``, and return what it says."""
    line = [word.format(desk=desk, out="{out}") for word in LINES[verb]]
    given = json.dumps({"what": what, "line": line, "out": str(out), **more})
    done = subprocess.run([sys.executable, __file__, given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("verb", LINES)
def test_killed_at_random_moments(verb: str, desk: Path, elsewhere: Path) -> None:
    found = drive("kill", verb, desk, elsewhere / "out", kills=KILLS, seed=KILLS)
    assert found["differ"] == []
    assert found["killed"] or KILLS < 5
    print(verb, found)  # noqa: T201


@pytest.mark.parametrize("verb", LINES)
def test_full_disk_then_the_same_command(verb: str, desk: Path, elsewhere: Path) -> None:
    found = drive("fill", verb, desk, elsewhere / "out", sizes=SIZES)
    assert found["differ"] == []
    assert found["errors"]
    for error in found["errors"]:
        assert str(elsewhere) in error, error
        assert "make room there" in error, error
        assert error.count("\n") == 1, error


@pytest.mark.parametrize("verb", LINES)
def test_folder_that_cannot_be_written(verb: str, desk: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = drive("close", verb, desk, tmp_path / "file" / "out")
    (error,) = found["errors"]
    assert str(tmp_path / "file") in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


# What follows runs in a process that has imported everything once, and forks for each try.


def contents(folder: Path) -> dict[str, str]:
    """Return a hash of each file, without what tells how long something took."""
    hashes = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".svg", ".html")):
        content = path.read_bytes()
        if path.name in ("config.json", "result.json", "run.json", "README.md"):
            content = b"\n".join(line for line in content.splitlines() if b"econds" not in line and b" s |" not in line)
        if path.name == "pretraining.csv":
            content = b"\n".join(line.rpartition(b",")[0] for line in content.splitlines())
        hashes[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return hashes


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


def main_of_driver(given: dict[str, Any]) -> dict[str, Any]:
    from ssl_ecg.archive import ingest

    sys.modules[ingest.__module__].RECORDS_PER_PART = 4  # type: ignore[attr-defined]
    importlib.import_module(f"ssl_ecg.verbs.{given['line'][0]}")
    out = Path(given["out"])

    def begin(folder: Path, limit: int | None = None) -> Try:
        return Try([word.replace("{out}", str(folder)) for word in given["line"]], limit)

    def succeed(folder: Path) -> dict[str, str]:
        tried = begin(folder)
        assert tried.end() == 0, tried.error
        return contents(folder)

    if given["what"] == "close":
        tried = begin(out)
        assert tried.end() == 2, tried.error
        return {"errors": [tried.error]}
    began = time.monotonic()
    wanted = succeed(out.with_name("whole"))
    seconds = time.monotonic() - began
    chance = random.Random(given.get("seed"))
    differ, errors, killed = set(), [], 0
    for each in given["sizes"] if given["what"] == "fill" else range(given["kills"]):
        if given["what"] == "fill":
            tried = begin(out, each)
            if tried.end() != 0:
                errors.append(tried.error)
        else:
            tried = begin(out)
            time.sleep(chance.uniform(0, seconds))
            os.kill(tried.pid, signal.SIGKILL)
            killed += tried.end() == -signal.SIGKILL
        found = succeed(out)
        differ |= {name for name in {*found, *wanted} if found.get(name) != wanted.get(name)}
        shutil.rmtree(out)
    return {"differ": sorted(differ), "killed": killed, "errors": errors, "seconds": round(seconds, 2)}


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    print(json.dumps(main_of_driver(json.loads(sys.argv[1]))))  # noqa: T201
