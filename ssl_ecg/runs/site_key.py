"""The key of a site, under which patients are recognised again by whoever has the key, and by nobody else.

Encoder folders hold hashes of the patients that were learned from. Without a key anybody could try all ids of seven
digits in seconds. All archives and encoders of a site use one key, so that its patients are recognised across them; to
another site the hashes say nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from functools import cache
from pathlib import Path

ENVIRONMENT, FILE = "SSL_ECG_SITE_KEY", "SSL_ECG_SITE_KEY_FILE"
MIN_CHARACTERS = 16


def site_key() -> bytes:
    """Return the key of this site.

    It is the environment variable ``SSL_ECG_SITE_KEY``, else what stands in the file that ``SSL_ECG_SITE_KEY_FILE``
    names, else in ``ssl_ecg/site.key`` in the user's configuration folder, which is made when it is first needed,
    readable by its owner alone. To share a key among users or machines, give them the same file.

    Raises:
        ValueError: a key that can be guessed.
        OSError: the file cannot be read or made; the message says what to do.
    """
    if (given := os.environ.get(ENVIRONMENT)) is not None:
        return _checked(given.encode(), ENVIRONMENT)
    named = os.environ.get(FILE)
    path = Path(named) if named else key_file()
    return _kept(path, make=not named)


def key_file() -> Path:
    """Return where the key of a user lies: ``ssl_ecg/site.key`` in the configuration folder (XDG Base Directory)."""
    configuration = os.environ.get("XDG_CONFIG_HOME")
    return (Path(configuration) if configuration else Path.home() / ".config") / "ssl_ecg" / "site.key"


def patient_hash(patient_id: str) -> str:
    """Return a hash of a patient's id under the key of this site, 16 hexadecimal digits."""
    return hmac.new(site_key(), patient_id.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]


def ecg_hash(content: str) -> str:
    """Return a hash, likewise, of what an archive's manifest says of a stored signal."""
    return patient_hash(f"ecg {content}")


def site() -> str:
    """Return what tells this site's key from others: no help in guessing it (scrypt), and no name."""
    return _site(site_key())


@cache
def _site(key: bytes) -> str:
    return hashlib.scrypt(key, salt=b"ssl_ecg site", n=2**16, r=8, p=1, maxmem=2**27, dklen=4).hex()


@cache
def _kept(path: Path, make: bool) -> bytes:
    try:
        if make and not path.exists():
            _make(path)
        return _checked(path.read_bytes().strip(), str(path))
    except OSError as error:
        told = "the key of this site, under which patients are hashed, cannot be kept; mend this, or set"
        raise OSError(
            error.errno, f"{error.strerror}: {told} {ENVIRONMENT} or {FILE}", error.filename or str(path)
        ) from error


def _checked(key: bytes, where: str) -> bytes:
    if len(key) < MIN_CHARACTERS:
        raise ValueError(f"{where}: has {len(key)} characters and can be guessed; give {MIN_CHARACTERS} or more")
    return key


def _make(path: Path) -> None:
    """Write a new key; of several processes that do, one is first, and all read its key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{secrets.token_hex(8)}")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(f"{secrets.token_hex(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)
