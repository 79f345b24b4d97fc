"""How patients are named in an archive: as the source names them, or by a keyed hash under a secret."""

from __future__ import annotations

import hashlib
import hmac


def as_secret(salt: str | bytes | None) -> bytes | None:
    """Return the bytes of a salt.

    Raises:
        ValueError: It is empty.
    """
    secret = salt.encode() if isinstance(salt, str) else salt
    if secret is not None and not secret:
        raise ValueError("salt must not be empty")
    return secret


def archived_id(identity: str, secret: bytes | None) -> str:
    """Return the id of a patient in an archive: ``identity`` ("data set/id"), or its HMAC-SHA256 under the secret."""
    return hmac.new(secret, identity.encode(), hashlib.sha256).hexdigest() if secret else identity


def id_scheme(secret: bytes | None) -> str:
    """Say how patient ids were made, so that one archive never mixes two ways."""
    return f"hmac-sha256, key {archived_id('ssl_ecg patient ids', secret)[:8]}" if secret else "plain"
