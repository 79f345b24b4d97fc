"""What an archive tells of people: everything as the source says it, or, under a secret, nothing that names them.

Under a salt, patient ids are HMAC-SHA256 of what the source calls them (RFC 2104), ages over 89 are 90 (the "safe
harbor" rule of HIPAA, 45 CFR 164.514(b)(2)), and times are shifted by whole days, by as many for all records of a
patient.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

ENVIRONMENT = "SSL_ECG_SALT"
MIN_CHARACTERS = 16
MAX_AGE = 90.0  # of whoever is older than 89

Times = Literal["shifted", "year", "kept"]


def as_secret(salt: str | bytes | None) -> bytes | None:
    """Return the bytes of a salt.

    Raises:
        ValueError: it can be guessed.
    """
    secret = salt.encode() if isinstance(salt, str) else salt
    if secret is not None and len(secret) < MIN_CHARACTERS:
        raise ValueError(f"salt: has {len(secret)} characters and can be guessed; give {MIN_CHARACTERS} or more")
    return secret


def given_salt(salt: str | bytes | None, salt_file: str | Path | None) -> bytes | None:
    """Return the salt that is given: itself, in a file, or in the environment variable SSL_ECG_SALT.

    Args:
        salt: itself.
        salt_file: its first line is the salt.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is given twice, or can be guessed.
    """
    if salt is not None and salt_file is not None:
        raise ValueError("salt: is given, and salt_file too; give one of them")
    if salt_file is not None:
        path = Path(salt_file)
        if not path.is_file():
            raise FileNotFoundError(f"salt_file={str(path)!r}: is no file; write the salt into one that only you read")
        with path.open("rb") as file:
            salt = file.readline(10_000).rstrip(b"\r\n")
    elif salt is None:
        salt = os.environ.get(ENVIRONMENT)
    return as_secret(salt)


def archived_id(identity: str, secret: bytes | None) -> str:
    """Return the id of a patient in an archive: ``identity`` ("data set/id"), or its HMAC-SHA256 under the secret."""
    return _keyed(identity, secret) if secret else identity


def id_scheme(secret: bytes | None) -> str:
    """Say how patient ids were made, so that one archive never mixes two ways.

    The check of the secret costs .1 s and 64 MB (scrypt, RFC 7914) and is shorter than the secret, so that it is no
    help in guessing it.
    """
    return f"hmac-sha256, key {_check(secret)}" if secret else "plain"


@cache
def _check(secret: bytes) -> str:
    made = hashlib.scrypt(secret, salt=b"ssl_ecg patient ids", n=2**16, r=8, p=1, maxmem=2**27, dklen=4)
    return made.hex()


def time_shift(identity: str, secret: bytes) -> timedelta:
    """Return by how much the times of a patient are shifted: whole days, one to ten years back."""
    number = int(_keyed(f"time shift of {identity}", secret)[:12], 16)
    return -timedelta(days=365 + number % (9 * 365))


def told_time(time: Any, identity: str, secret: bytes | None, times: Times) -> Any:
    """Return a time as an archive tells it.

    Args:
        time: datetime or Timestamp of a record; None where it is unknown.
        identity: of the patient ("data set/id"), before it is hashed.
        secret: without one, times stay.
        times: "shifted" keeps order and distances within a patient and the time of day, "year" only the year.
    """
    if secret is None or times == "kept" or time is None:
        return time
    if times == "year":
        return datetime(time.year, 1, 1)
    try:
        return time + time_shift(identity, secret)
    except OverflowError:  # of the first ten years of our era: no time of an ECG
        return None


def told_age(age: float | None, secret: bytes | None) -> float | None:
    """Return an age in years as an archive tells it: under a secret nobody is over 90."""
    return MAX_AGE if secret and age is not None and age > MAX_AGE - 1 else age


def check_times(times: str) -> None:
    """Refuse a word that says nothing of times.

    Raises:
        ValueError: naming what can be chosen.
    """
    if times not in get_args(Times):
        raise ValueError(f"times={times!r}: there is no such way; choose one of {', '.join(get_args(Times))}")


def _keyed(text: str, secret: bytes) -> str:
    return hmac.new(secret, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()
