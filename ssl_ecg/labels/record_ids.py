"""Record ids as people write them: with a suffix, with backslashes, without the folder, or with one too many."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from difflib import get_close_matches

import pandas as pd

from ssl_ecg.archive.archive import Archive
from ssl_ecg.archive.record_ids import SUFFIXES
from ssl_ecg.archive.writer import ids_of

_LOOKED_AT = 20_000
"""ids among which a similar one is looked for"""

log = logging.getLogger(__name__)


def ids_in(archive: Archive, record_ids: pd.Series) -> pd.Series:
    """Return record ids as an archive has them.

    An id that it neither holds nor rejected is taken without the suffix of a file, with slashes for backslashes, and
    with folders before it, or some of its own left out, where that names exactly one record.

    Args:
        archive: holds the records.
        record_ids: text, as a table has them.
    """
    ids = archive.known_as(record_ids)
    unknown = ~ids.isin(archive.manifest["record_id"])
    if unknown.any():
        unknown &= ~ids.isin(rejected_ids(archive))
    if not unknown.any():
        return ids
    by_name = _by_name(archive)
    found = {given: among[0] for given in ids[unknown].unique() if len(among := _meant(given, by_name)) == 1}
    if found:
        log.info(
            "%d record ids are written otherwise in the archive: %s, for one, is %s there",
            len(found),
            *next(iter(found.items())),
        )
    return ids.map(lambda given: found.get(given, given))


def rejected_ids(archive: Archive) -> set[str]:
    """Return what records would be called that ingest rejected."""
    return set().union(*map(ids_of, archive.rejected["path"]))


def did_you_mean(record_id: str, archive: Archive) -> str:
    """Return what to say of an id that an archive does not know: the records it may mean, or what ids look like."""
    known = archive.manifest["record_id"]
    among = _meant(record_id, _by_name(archive)) or get_close_matches(record_id, known.iloc[:_LOOKED_AT].tolist(), n=1)
    return f"did you mean {' or '.join(among[:3])}?" if among else f"they look like {known.iloc[0]}"


def _by_name(archive: Archive) -> dict[str, list[str]]:
    """Return the ids by their last part."""
    named = defaultdict(list)
    for record_id in archive.manifest["record_id"]:
        named[record_id.rpartition("/")[2]].append(record_id)
    return named


def _meant(given: str, by_name: dict[str, list[str]]) -> list[str]:
    """Return the records whose id ends with what is given, or is the end of it."""
    plain = given.strip().replace("\\", "/").removeprefix("./")
    stem, suffix = os.path.splitext(plain)
    plain = stem if suffix.lower() in SUFFIXES else plain
    among = by_name.get(plain.rpartition("/")[2], [])
    if plain in among:
        return [plain]
    return [each for each in among if each.endswith(f"/{plain}") or plain.endswith(f"/{each}")]
