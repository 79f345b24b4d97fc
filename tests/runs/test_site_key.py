"""The key under which a site recognises its patients."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ssl_ecg.runs import patient_hash, site, site_key
from ssl_ecg.runs.site_key import key_file


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "ssl_ecg" / "site.key"


def test_made_once_and_read_by_its_owner_alone(home: Path) -> None:
    key = site_key()
    assert key_file() == home
    assert (len(key), home.read_bytes().strip()) == (64, key)
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.parent.stat().st_mode) == 0o700
    assert [path.name for path in home.parent.iterdir()] == ["site.key"]
    assert site_key() == key
    assert patient_hash("clinic/7") == hmac.new(key, b"clinic/7", hashlib.sha256).hexdigest()[:16]


def test_the_home_folder_is_used_where_no_other_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert key_file() == tmp_path / ".config" / "ssl_ecg" / "site.key"


def test_environment_and_file_come_first(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shared.key").write_text("a key that we share\n")
    monkeypatch.setenv("SSL_ECG_SITE_KEY_FILE", str(tmp_path / "shared.key"))
    assert site_key() == b"a key that we share"
    shared = patient_hash("p"), site()
    monkeypatch.setenv("SSL_ECG_SITE_KEY", "a key that we share")
    assert (patient_hash("p"), site()) == shared
    monkeypatch.setenv("SSL_ECG_SITE_KEY", "another key of ours")
    assert patient_hash("p") != shared[0]
    assert site() != shared[1]
    assert not home.exists()
    monkeypatch.setenv("SSL_ECG_SITE_KEY", "short")
    with pytest.raises(ValueError, match="SSL_ECG_SITE_KEY: has 5 characters and can be guessed"):
        site_key()


def test_a_key_that_cannot_be_kept_names_path_and_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"cannot be kept; mend this, or set SSL_ECG_SITE_KEY or .*file"):
        site_key()
    monkeypatch.setenv("SSL_ECG_SITE_KEY_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(OSError, match=r"No such file.*nowhere"):
        site_key()


@pytest.mark.process
def test_processes_that_make_it_at_once_agree(home: Path) -> None:
    code = "from ssl_ecg.runs import site_key; print(site_key().decode())"
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ), stdout=subprocess.PIPE) for _ in range(4)
    ]
    assert len({process.communicate()[0] for process in started}) == 1
