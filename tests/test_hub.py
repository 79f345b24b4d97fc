"""Encoders and models go to a hub and come back, through huggingface_hub and a hub of these tests."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

import ssl_ecg
from ssl_ecg.backbones import Encoder, save_encoder
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import Classifier, create_task, save_classifier

constants = pytest.importorskip("huggingface_hub.constants")
pytestmark = pytest.mark.slow

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "ward/encoder"


class Hub(ThreadingHTTPServer):
    """Holds the files of repositories by name, and remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.fetched: list[str] = []


class Answers(BaseHTTPRequestHandler):
    """The few calls that are made."""

    server: Hub

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _say(self, code: int, content: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, content: Any) -> None:
        self._say(200, json.dumps(content).encode(), Content_Type="application/json")

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if found := re.fullmatch(r"/api/models/(ward/\w+)(?:/(revision|tree)/.*)?", path):
            files = self.server.files.get(found[1])
            if files is None:
                return self._say(404, b"", X_Error_Code="RepoNotFound")
            listed = [
                {"type": "file", "path": name, "size": len(held), "oid": hashlib.sha1(held).hexdigest()}
                for name, held in files.items()
            ]
            if found[2] == "tree":
                return self._json(listed)
            siblings = [{"rfilename": name} for name in files]
            return self._json({"id": found[1], "sha": COMMIT, "siblings": siblings, "private": True})
        if found := re.fullmatch(r"/(ward/\w+)/resolve/\w+/(.*)", path):
            held = self.server.files[found[1]][found[2]]
            self.server.fetched += [found[2]] if self.command == "GET" else []
            tag = f'"{hashlib.sha1(held).hexdigest()}"'
            return self._say(200, held, ETag=tag, X_Repo_Commit=COMMIT)
        return self._say(404, b"")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/api/validate-yaml":
            return self._json({"warnings": [], "errors": []})
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.server.private[name] = asked.get("private", asked.get("visibility") == "private")
            self.server.files.setdefault(name, {".gitattributes": b""})
            return self._json({"url": f"https://huggingface.co/{name}", "name": name})
        found = re.fullmatch(r"/api/models/(ward/\w+)/(preupload|commit)/main", self.path.partition("?")[0])
        assert found is not None, self.path
        if found[2] == "preupload":
            asked = json.loads(body)["files"]
            return self._json({"files": [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in asked]})
        for line in body.splitlines():
            part = json.loads(line)
            if part["key"] == "file":
                self.server.files[found[1]][part["value"]["path"]] = base64.b64decode(part["value"]["content"])
            if part["key"] == "deletedFile":
                del self.server.files[found[1]][part["value"]["path"]]
        return self._json(
            {"success": True, "commitOid": COMMIT, "commitUrl": f"https://huggingface.co/{found[1]}/commit/{COMMIT}"}
        )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    made = Encoder(
        "xresnet1d10", {"width": 4}, SignalSettings(duration=3, min_duration=3), patients=frozenset({"ab12"})
    )
    made.origin["sites"] = ["cd34"]
    return save_encoder(made.eval(), tmp_path / "encoder", "# card\n")


def test_an_encoder_goes_and_comes_without_its_patients(hub: Hub, encoder: Path) -> None:
    (encoder / "predictions.csv").write_text("record_id\nMiller_John\n")
    (encoder / "run.json").write_text("{}")
    assert ssl_ecg.push_to_hub(encoder, NAME).startswith("https://huggingface.co/ward/encoder/commit/")
    held = hub.files[NAME]
    assert set(held) == {".gitattributes", "config.json", "model.safetensors", "README.md"}
    assert hub.private[NAME] is True
    assert not any(secret in b"".join(held.values()) for secret in (b"ab12", b"cd34", b"Miller"))
    held |= {"setup.py": b"raise SystemExit", "model.bin": b"pickle", "sub/config.json": b"{}"}
    found, own = ssl_ecg.from_pretrained(NAME), ssl_ecg.load_encoder(encoder)
    signal = torch.randn(2, 12, 300)
    assert torch.equal(found(signal), own(signal))
    assert sorted(hub.fetched) == ["README.md", "config.json", "model.safetensors"]
    assert (found.patients, own.patients) == (frozenset(), frozenset({"ab12"}))  # its own folder stays as it is


def test_a_model_comes_as_one_and_an_encoder_in_its_place_as_another(hub: Hub, encoder: Path, tmp_path: Path) -> None:
    model = Classifier(ssl_ecg.load_encoder(encoder), create_task("arrhythmia", ["AF"])).eval()
    folder = save_classifier(model, tmp_path / "model", "card")
    ssl_ecg.push_to_hub(folder, NAME, private=False)
    found, signal = ssl_ecg.from_pretrained(NAME), torch.randn(2, 12, 300)
    assert torch.equal(found.scores(signal), model.scores(signal))
    assert hub.private[NAME] is False
    ssl_ecg.push_to_hub(encoder, NAME)
    assert "task.json" not in hub.files[NAME]


def test_what_comes_damaged_is_refused_as_any_folder_is(hub: Hub, encoder: Path) -> None:
    ssl_ecg.push_to_hub(encoder, NAME)
    config = json.loads(hub.files[NAME]["config.json"])
    config["backbone"]["options"]["weights"] = "http://elsewhere/x"
    hub.files[NAME]["config.json"] = json.dumps(config).encode()
    with pytest.raises(ValueError, match=r"config\.json: backbone\.options\.weights: names a place outside"):
        ssl_ecg.from_pretrained(NAME)


def test_what_cannot_be_had_or_given_is_said_in_one_line(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="name='ward/none': the hub does not give") as error:
        ssl_ecg.from_pretrained("ward/none")
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        ssl_ecg.push_to_hub(tmp_path, NAME)
    assert not hub.files
