"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ssl_ecg.runs import sha256, whole_folder, write_atomically, write_csv, write_json

pytestmark = pytest.mark.process

KILLED = """
import os, signal, sys
from pathlib import Path
from ssl_ecg.runs import {imported}
out = Path(sys.argv[1])
def kill(self, *_):
    if self.name.startswith({at!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    return os.replace(self, *_)
Path.replace = kill
{code}
"""


def killed_before_renaming(at: str, imported: str, code: str, out: Path) -> None:
    """Run code in a process that ends, as a power cut would end it, where a file is to get its name."""
    script = KILLED.format(at=at, imported=imported, code=code)
    result = subprocess.run([sys.executable, "-c", script, str(out)], capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_text_and_bytes_are_written_and_replaced(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "µV\n")
    assert (tmp_path / "a").read_bytes() == "µV\n".encode()
    write_atomically(tmp_path / "a", memoryview(b"12"))
    assert (tmp_path / "a").read_bytes() == b"12"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_json_and_tables_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"leads": ("I", "II")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"leads": ["I", "II"]}
    write_csv(tmp_path / "a.csv", pd.DataFrame({"x": [1 / 3, None], "y": ["a,b", "ü"]}), "%.2g")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines() == ["x,y", '0.33,"a,b"', ",ü"]


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
@pytest.mark.parametrize("there", [True, False])
def test_a_kill_before_the_rename_leaves_the_old_file(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "a.json"
    if there:
        path.write_text("old")
    killed_before_renaming("a.json", "write_json", "write_json(out / 'a.json', {'new': 1})", tmp_path)
    assert (path.read_text() == "old") if there else not path.exists()
    write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"new": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]  # what the kill left is used up


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    monkeypatch.setattr(os if call == "fsync" else Path, call, full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.csv'") as caught:
        write_csv(path, pd.DataFrame({"x": [1]}))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.a\.json'"):
        write_json(tmp_path / "nowhere" / "a.json", {})
    (tmp_path / "file").write_text("old")
    with pytest.raises(NotADirectoryError, match=r"file.a\.json'"):
        write_json(tmp_path / "file" / "a.json", {})


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions hold")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match=r"a\.json'"):
            write_json(tmp_path / "a.json", {})
    finally:
        tmp_path.chmod(0o700)


def test_a_refused_permission_keeps_its_type_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*a\.json'"):
        write_json(tmp_path / "a.json", {})


def test_a_file_system_that_cannot_sync_folders_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def files_alone(opened: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{opened}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(opened)

    monkeypatch.setattr(os, "fsync", files_alone)
    write_json(tmp_path / "a.json", {})
    assert (tmp_path / "a.json").is_file()


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


OLD = {"config.json": "old", "weights": "old", "head": "old", "mine": "old"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, text in OLD.items():
        (folder / name).write_text(text)
    return folder


def write_new(folder: Path) -> None:
    with whole_folder(folder, last="config.json", clear=["head", "weights", "tail"]) as part:
        (part / "config.json").write_text("new")
        (part / "weights").write_text("new")
        assert contents(folder) == OLD


def test_a_folder_gets_its_files_and_keeps_what_is_not_cleared(folder: Path) -> None:
    write_new(folder)
    assert contents(folder) == {"config.json": "new", "weights": "new", "mine": "old"}
    assert len(list(folder.iterdir())) == 3


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "deep" / "model", last="config.json") as part:
        (part / "config.json").write_text("new")
        assert not contents(tmp_path / "deep" / "model")
    assert contents(tmp_path / "deep" / "model") == {"config.json": "new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_while_writing_leaves_the_folder_as_it_was(folder: Path, error: type[BaseException]) -> None:
    def write() -> None:
        with whole_folder(folder, last="config.json", clear=["head"]) as part:
            (part / "weights").write_text("new")
            raise error

    with pytest.raises(error):
        write()
    assert contents(folder) == OLD
    assert len(list(folder.iterdir())) == len(OLD)


def test_a_full_disk_at_the_end_leaves_the_folder_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_new(folder)
    assert contents(folder) == OLD


WRITE = """
with whole_folder(out, last="a_config.json") as part:
    for name in ("a_config.json", "head", "weights"):
        (part / name).write_text("new")
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
@pytest.mark.parametrize(("at", "moved"), [("head", []), ("weights", ["head"]), ("a_config", ["head", "weights"])])
def test_a_kill_between_two_files_leaves_no_folder_that_looks_whole(tmp_path: Path, at: str, moved: list[str]) -> None:
    for name in ("a_config.json", "head", "weights"):
        (tmp_path / name).write_text("old")
    killed_before_renaming(at, "whole_folder", WRITE, tmp_path)
    assert not (tmp_path / "a_config.json").exists()
    assert {name for name, text in contents(tmp_path).items() if text == "new"} == set(moved)
    with whole_folder(tmp_path, last="a_config.json") as part:
        assert not list(part.iterdir())  # what the kill left is gone
        for name in ("a_config.json", "head", "weights"):
            (part / name).write_text("newer")
    assert set(contents(tmp_path).values()) == {"newer"}
    assert len(list(tmp_path.iterdir())) == 3
