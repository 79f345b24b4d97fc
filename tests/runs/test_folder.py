"""What a folder is about, who is at it, and whether there is something to go on with."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from filelock import FileLock

from ssl_ecg.runs import FolderInUseError, Run, claim, differences, goes_on, lock, locked

pytestmark = pytest.mark.process

SPAWN = multiprocessing.get_context("spawn")


def hold(folder: Path) -> None:
    with lock(folder):
        (folder / "held").touch()
        time.sleep(60)


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[BaseProcess]:
    """Have another process work in a folder."""
    holder = SPAWN.Process(target=hold, args=(folder,))
    holder.start()
    try:
        while not (folder / "held").exists():
            assert holder.is_alive()
            time.sleep(0.02)
        yield holder
    finally:
        holder.kill()
        holder.join()


def test_a_second_process_is_told_who_works_there_and_a_killed_one_is_no_hindrance(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with held_elsewhere(out) as holder:
        for _ in range(2):  # asking does not change who holds it
            with pytest.raises(FolderInUseError) as caught, lock(out):
                pass
            assert str(caught.value) == (
                f"out={str(out)!r}: another process is working in this folder (pid {holder.pid}); "
                "wait for it or choose another folder"
            )
        with lock(tmp_path / "other"):
            pass
    with lock(out):
        pass
    assert [path.name for path in out.iterdir()] == ["held"]


def test_waiting_for_a_process_that_ends(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as holder:
        SPAWN.Process(target=kill_later, args=(holder.pid,)).start()
        with lock(tmp_path, wait=True):
            holder.join(10)
            assert not holder.is_alive()


def kill_later(pid: int) -> None:
    time.sleep(0.3)
    os.kill(pid, 9)


def test_a_lock_is_freed_by_an_error_and_leaves_no_folder_that_it_made(tmp_path: Path) -> None:
    def fail() -> None:
        with lock(tmp_path / "a" / "b"):
            assert (tmp_path / "a" / "b").is_dir()
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert not list(tmp_path.iterdir())
    with lock(tmp_path / "a"):
        (tmp_path / "a" / "file").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]


@locked("archive")
def ingest(source: str, archive: Path, workers: int = 1) -> int:
    """Take and give back."""
    with pytest.raises(FolderInUseError, match=rf"archive={str(archive)!r}: another process"), lock(archive, "archive"):
        pass
    return workers


def test_a_function_keeps_its_folder_however_it_is_called(tmp_path: Path) -> None:
    assert ingest("source", tmp_path) == 1
    assert ingest(source="source", archive=tmp_path, workers=2) == 2
    assert ingest.__doc__ == "Take and give back."
    with lock(tmp_path), pytest.raises(FolderInUseError, match="archive='"):
        ingest("source", tmp_path)


def test_of_processes_that_work_together_one_keeps_the_folder(tmp_path: Path) -> None:
    together = locked("out", when=lambda: False)(lambda out: out)
    with lock(tmp_path):
        assert together(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("earlier", "now", "told"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1}, {"a": 2}, "a: 1 there, 2 now"),
        ({"a": {"b": {"c": 1, "d": 5}}}, {"a": {"b": {"c": 2, "d": 5}}}, "a.b.c: 1 there, 2 now"),
        ({"b": 1, "a": "x"}, {"b": 2, "a": "y"}, "a: 'x' there, 'y' now; b: 1 there, 2 now"),
        ({}, {"a": 1}, "a: None there, 1 now"),
        ({"a": {"b": 1}}, {"a": None}, "a: {'b': 1} there, None now"),
        ({"a": {}}, {"a": {"b": 1}}, "a.b: None there, 1 now"),
        ({"a": {}}, {"a": {}}, ""),
        ({"a": [1, 2]}, {"a": [1, 3]}, "a: [1, 2] there, [1, 3] now"),
        ({"a": [{"b": 1, "c": 3}, {"b": 2}]}, {"a": [{"b": 1, "c": 4}, {"b": 2}]}, "a.0.c: 3 there, 4 now"),
        ({"a": [{"b": 1}]}, {"a": []}, "a: [{'b': 1}] there, [] now"),
        ({"a": [{"b": 1}, 5]}, {"a": [{"b": 1}, 6]}, "a.1: 5 there, 6 now"),
    ],
)
def test_differences_name_each_setting_with_both_values(earlier: object, now: object, told: str) -> None:
    assert differences(earlier, now) == told


def test_what_goes_on_and_what_is_refused(tmp_path: Path) -> None:
    there = {"settings": {"epochs": 6, "leads": ["I", "II"]}, "seconds": 3}
    same, other = {"settings": {"epochs": 6, "leads": ("I", "II")}}, {"settings": {"epochs": 8, "leads": ("I", "II")}}
    assert goes_on(tmp_path, there, same)
    assert goes_on(tmp_path, there, same, "yes")
    assert not goes_on(tmp_path, None, same)
    assert not goes_on(tmp_path, None, same, "no")
    with pytest.raises(FileNotFoundError, match=r"out='.*': there is no run to resume"):
        goes_on(tmp_path, None, same, "yes")
    with pytest.raises(FileExistsError, match=r"out='.*': holds a run already; choose another folder"):
        goes_on(tmp_path, there, same, "no")
    with pytest.raises(ValueError, match=r"other settings: settings.epochs: 6 there, 8 now; choose another") as caught:
        goes_on(tmp_path, there, other)
    assert "leads" not in str(caught.value)


def test_a_claim_is_kept_and_another_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "comparison.json"
    claim(path, {"arms": ("probe",), "data": {"records": 5}}, {"command": "first"})
    said = json.loads(path.read_text())
    assert said.items() >= {"arms": ["probe"], "data": {"records": 5}, "command": "first"}.items()
    assert set(said["versions"]) >= {"ssl_ecg", "torch"}
    written = path.stat().st_mtime_ns
    claim(path, {"arms": ("probe",), "data": {"records": 5}}, {"command": "second"})
    assert path.stat().st_mtime_ns == written
    with pytest.raises(ValueError, match=r"deep': holds a run with other settings: data\.records: 5 there, 6 now;"):
        claim(path, {"arms": ("probe",), "data": {"records": 6}})
    claim(path, {"arms": ("probe",)}, {"command": "third", "simulated": True})
    assert json.loads(path.read_text()) == {**said, "simulated": True}


def test_a_run_is_known_while_it_can_go_on_and_forgotten_when_cleared(tmp_path: Path) -> None:
    run = Run(tmp_path / "out")
    assert run.identity is None
    run.begin({"epochs": 6})
    assert run.identity is None  # killed before its first checkpoint: nothing to go on from
    run.checkpoints.mkdir()
    run.last.touch()
    (run.checkpoints / "best.ckpt").touch()
    assert run.identity == {"epochs": 6}
    (run.folder / "config.json").touch()
    run.clear()
    assert [path.name for path in run.folder.iterdir()] == ["config.json"]
    run.clear()


def test_an_error_that_knows_no_path_gets_that_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught, lock(tmp_path / "run"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "run"))
    with pytest.raises(FileNotFoundError) as missing, lock(tmp_path / "run"):
        (tmp_path / "none").read_bytes()
    assert missing.value.filename == str(tmp_path / "none")


def test_a_lock_that_its_last_holder_removed_meanwhile_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire, taken = FileLock.acquire, []

    def too_late(self: FileLock, *given: object, **named: object) -> object:
        held = acquire(self, *given, **named)  # type: ignore[arg-type]
        taken.append(self)
        if len(taken) == 1:
            (tmp_path / ".lock").unlink()  # as a process does that ends between our opening and our locking it
        return held

    monkeypatch.setattr(FileLock, "acquire", too_late)
    with lock(tmp_path):
        assert len(taken) == 2
        assert (tmp_path / ".lock").is_file()
        with pytest.raises(FolderInUseError), lock(tmp_path):
            raise AssertionError("two hold it")
