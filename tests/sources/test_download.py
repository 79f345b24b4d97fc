"""Downloads from a server of this machine that breaks off, lies and refuses."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import ssl_ecg
from ssl_ecg.cli import main
from ssl_ecg.sources.download import DownloadError, download

FILES = {"a.csv": b"record,label\n", "records100/1 ä.dat": bytes(range(256)) * 800, "records500/2.dat": b"x" * 1000}


class Server(ThreadingHTTPServer):
    """Serves ``files`` under ``/data/``; of those in ``broken`` half of what is asked for, once."""

    files: dict[str, bytes]
    asked: list[tuple[str, str | None]]
    broken: set[str]
    ranges = True


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        from urllib.parse import unquote

        path, wanted = unquote(self.path).removeprefix("/data/"), self.headers.get("Range")
        self.server.asked.append((path, wanted))
        if path not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[path]
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        if begin > len(content):
            self.send_error(416)
            return
        content = content[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if path in self.server.broken:
            self.server.broken.discard(path)
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    sums = "".join(f"{hashlib.sha256(content).hexdigest()} {path}\n" for path, content in FILES.items())
    server.files, server.asked, server.broken = {**FILES, "SHA256SUMS.txt": sums.encode()}, [], set()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(server: Server, folder: Path, **options):
    address = f"http://127.0.0.1:{server.server_port}/data"
    return ssl_ecg.download("ptbxl", folder, address=address, progress=False, **options)


def written(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_file_comes_once(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path) == (3, 0)
    assert written(tmp_path) == FILES
    server.asked.clear()
    assert fetch(server, tmp_path) == (0, 3)
    assert [path for path, _ in server.asked] == ["SHA256SUMS.txt"]
    (tmp_path / "a.csv").write_bytes(b"record,label!")  # changed since
    assert fetch(server, tmp_path) == (1, 2)
    assert written(tmp_path) == FILES


@pytest.mark.parametrize("ranges", [True, False])
def test_what_was_cut_off_goes_on(server: Server, tmp_path: Path, ranges: bool) -> None:
    name = "records100/1 ä.dat"
    server.ranges, server.broken = ranges, {name}
    assert fetch(server, tmp_path).fetched == 3
    assert written(tmp_path) == FILES
    assert [wanted for path, wanted in server.asked if path == name] == [None, f"bytes={len(FILES[name]) // 2}-"]


def test_a_part_of_an_earlier_call_goes_on_and_a_wrong_one_is_fetched_again(server: Server, tmp_path: Path) -> None:
    name = "records500/2.dat"
    (tmp_path / "records500").mkdir()
    part = tmp_path / f"{name}.part"
    for content, wanted in (
        (b"x" * 700, ["bytes=700-"]),
        (b"y" * 700, ["bytes=700-", None]),
        (b"y" * 2000, ["bytes=2000-", None]),
    ):
        part.write_bytes(content)
        (tmp_path / name).unlink(missing_ok=True)
        server.asked.clear()
        fetch(server, tmp_path)
        assert [asked for path, asked in server.asked if path == name] == wanted
        assert written(tmp_path) == FILES


def test_what_is_not_what_its_publisher_says_never_gets_its_name(server: Server, tmp_path: Path) -> None:
    server.files["records500/2.dat"] = b"z" * 1000
    with pytest.raises(DownloadError, match=r"records500/2\.dat: has another SHA-256 .* \(1 of 3 files are missing"):
        fetch(server, tmp_path)
    assert set(written(tmp_path)) == {"a.csv", "records100/1 ä.dat"}
    del server.files["records500/2.dat"]
    with pytest.raises(DownloadError, match=r"records500/2\.dat: HTTP 404"):
        fetch(server, tmp_path)


def test_some_files_alone(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, only="records100/*") == (2, 0)
    assert set(written(tmp_path)) == {"a.csv", "records100/1 ä.dat"}
    with pytest.raises(DownloadError, match=r"only='records9/\*': matches none"):
        fetch(server, tmp_path, only="records9/*")


@pytest.mark.parametrize(
    ("sums", "message"),
    [
        (f"{'a' * 64}  ../x\n", "names a file outside of the data set"),
        (f"{'a' * 64}  /etc/x\n", "names a file outside of the data set"),
        ("<html>login</html>", "holds no checksums"),
    ],
)
def test_checksums_that_cannot_be(server: Server, tmp_path: Path, sums: str, message: str) -> None:
    server.files["SHA256SUMS.txt"] = sums.encode()
    with pytest.raises(DownloadError, match=message):
        fetch(server, tmp_path)
    assert written(tmp_path) == {}


def test_the_command(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    address = f"address=http://127.0.0.1:{server.server_port}/data/"
    assert main(["download", "mitbih", str(tmp_path), address]) == 0
    assert "3 files fetched, 0 were there" in capsys.readouterr().out
    assert main(["download", "mitbhi", str(tmp_path)]) == 2
    assert "name='mitbhi': is no data set that can be fetched" in capsys.readouterr().err
    server.files.clear()
    assert main(["download", "mitbih", str(tmp_path), address]) != 0
    assert "SHA256SUMS.txt: HTTP 404" in " ".join(capsys.readouterr().err.split())
    assert main(["download", "mitbih", str(tmp_path), "address=file:///etc/"]) == 2


@pytest.mark.parametrize("publisher", ["zenodo", "figshare"])
def test_lists_of_zenodo_and_figshare(server: Server, tmp_path: Path, publisher: str) -> None:
    files = {"exams.csv": b"exam_id\n", "exams_part0.zip": b"z" * 5000, "exams_part1.zip": b"y" * 5000}
    home = f"http://127.0.0.1:{server.server_port}/data/"

    def entry(name: str, content: bytes, link: str) -> dict[str, object]:
        digest = hashlib.md5(content).hexdigest()
        if publisher == "zenodo":
            return {"key": name, "checksum": f"md5:{digest}", "links": {"self": link}}
        return {"id": 1, "name": name, "computed_md5": digest, "supplied_md5": digest, "download_url": link}

    def publish(**links: str) -> None:
        listed = [entry(name, content, links.get(name[:-4], f"{home}{name}")) for name, content in files.items()]
        server.files |= {**files, "list": json.dumps({"files": listed}).encode()}

    publish()
    assert download(home + "list", tmp_path, "exams_part0*") == (2, 0)
    assert written(tmp_path) == {name: files[name] for name in ("exams.csv", "exams_part0.zip")}
    server.files["exams_part1.zip"] = b"other"
    with pytest.raises(DownloadError, match=r"exams_part1\.zip: has another MD5 than its publisher says"):
        download(home + "list", tmp_path)
    assert not (tmp_path / "exams_part1.zip").exists()
    publish(exams="file:///etc/passwd")
    with pytest.raises(DownloadError, match="list: holds no list of files with checksums"):
        download(home + "list", tmp_path)
    files["../x.zip"] = b""
    publish()
    with pytest.raises(DownloadError, match="names a file outside of the data set"):
        download(home + "list", tmp_path)
