"""Arrays that a small YAML file beside them describes: their leads, rate and unit, and whose records they are.

    array: signals.npy            # [records, leads, samples]; or a pattern, such as "*.mat"
    leads: [I, II, V1, V2, V3, V4, V5, V6]
    sampling_rate: 250
    unit: uV                      # mV, V, nV; "4.88 uV" for a step of integers; none where nobody knows
    table: patients.csv           # columns row or an id, patient_id, age, sex, recorded_at

Nothing is guessed from the values: an array without a unit is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from annotated_types import Gt

from ssl_ecg.records.array_files import kind_of, layout_of, opened, title_of
from ssl_ecg.records.formats import Reader, Rejected, register
from ssl_ecg.records.naming import lead_of
from ssl_ecg.records.patient_table import PatientTable
from ssl_ecg.records.record import CURE, LEADS, Record, RecordError
from ssl_ecg.settings import Settings, SettingsError

MAX_BYTES = 100_000
MAX_RECORD_BYTES = 3 * 2**28  # twice as much is in memory, in the end

_MILLIVOLTS = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6, "none": 1.0}
_UNIT = re.compile(r"(?:(\d+(?:\.\d*)?(?:e[-+]?\d+)?)\s*)?(nV|uV|µV|μV|mV|V|none)", re.IGNORECASE)
# What published layouts say of themselves; none of them says its unit.
_LAYOUTS: dict[str, dict[str, Any]] = {
    "code15": {"leads": LEADS, "sampling_rate": 400, "name": "tracings", "id": "exam_id", "table": "exams.csv"},
    "sph": {"leads": LEADS, "sampling_rate": 500, "name": "ecg", "table": "metadata.csv"},
}
_SUFFIXES = (".yaml", ".yml")


class Description(Settings):
    """What a YAML file says of arrays."""

    array: str
    """the file, or a pattern for many, below the folder of the YAML file"""
    leads: tuple[str, ...] = ()
    """names of the leads in their order"""
    sampling_rate: Annotated[float, Gt(0)] | None = None
    """samples a second, in Hz"""
    unit: str = ""
    """mV, uV, nV or V; with a number before it, what a step of the integers is worth; none where nobody knows"""
    name: str = ""
    """of the array inside the file, where that holds several; a/b is b in a"""
    axes: tuple[Literal["records", "leads", "samples"], ...] = ()
    """what the axes of the array are, where their lengths do not tell"""
    id: str = ""
    """array inside the file, or column of the table, that identifies records"""
    table: str = ""
    """CSV file that says whose the records are"""
    columns: dict[str, str] | None = None
    """names of the columns of patient_id, age, sex and recorded_at in the table, where they are not the usual"""


def array_of(path: Path) -> str:
    """Return the file, or the pattern for many, that a YAML file describes.

    Raises:
        RecordError: it is no description.
    """
    return _described(path).array


def descriptions(folder: Path) -> dict[str, str]:
    """Return the file, or the pattern for many, of each YAML file of a folder that describes arrays, by its name."""
    found = {}
    for path in sorted(file for suffix in _SUFFIXES for file in folder.glob(f"*{suffix}")):
        with suppress(RecordError):
            found[path.name] = array_of(path)
    return found


def _described(path: Path) -> Description:
    """Read a YAML file.

    Raises:
        RecordError: it is no description, or names files outside its folder.
    """
    try:
        content = yaml.safe_load(path.read_bytes()) if path.stat().st_size <= MAX_BYTES else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecordError("description", "is not YAML") from error
    if not isinstance(content, dict):
        raise RecordError("description", "is not YAML of the form name: value")
    try:
        description = Description(**{str(name): value for name, value in content.items()})
    except SettingsError as error:
        raise RecordError("description", str(error)) from error
    for name in (description.array, description.table):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or "**" in name:
            raise RecordError("description", "names a file outside its folder")
    return description


def _files(path: Path, description: Description) -> list[Path]:
    return sorted(file for file in path.parent.glob(description.array) if file.is_file() and file != path)


def _read(path: Path) -> Iterator[Record | Rejected]:
    """Yield the records of all arrays that a YAML file describes."""
    description = _described(path)
    files = _files(path, description)
    if not files:
        raise RecordError("missing file", f"there is no {description.array} beside the description")
    yield from _records(path, files, description, many=len(files) > 1 or any(c in description.array for c in "*?["))


def _read_array(path: Path) -> Iterator[Record | Rejected]:
    """Yield the records of an array by the description that is beside it.

    Raises:
        RecordError: there is none; the detail says what it must say.
    """
    for suffix in _SUFFIXES:
        for beside in sorted(path.parent.glob(f"*{suffix}")):
            try:
                description = _described(beside)
            except RecordError:
                continue
            if path in _files(beside, description):
                yield from _records(beside, [path], description, many=False)
                return
    layout = layout_of(path)
    lines = ["leads", "sampling_rate", "unit"] if layout is None else ["unit"]
    raise RecordError(
        "no description",
        f"{title_of(path)} does not say what its numbers are; write {path.stem}.yaml beside it with the lines "
        f"array: {path.name}, "
        + ", ".join(f"{line}: {_EXAMPLES[line]}" for line in lines)
        + (" (the file does not state its unit)" if layout else " (docs/ingest.md)"),
    )


_EXAMPLES = {"leads": "[I, II, ...]", "sampling_rate": "500", "unit": "mV, or uV, or what a step is worth"}


def _records(path: Path, files: list[Path], description: Description, many: bool) -> Iterator[Record | Rejected]:
    tables: dict[tuple[str, str], PatientTable] = {}
    for file in files:
        inside = str(PurePosixPath(file.relative_to(path.parent).as_posix()).with_suffix("")) if many else ""
        try:
            full = _completed(description, file, path.parent)
            if full.table and (full.table, full.id) not in tables:
                tables[full.table, full.id] = PatientTable(path.parent / full.table, full.id, full.columns)
            yield from _of_file(file, full, tables.get((full.table, full.id)), inside)
        except RecordError as error:
            if not many:
                raise
            yield Rejected(inside, error)


def _completed(description: Description, file: Path, folder: Path) -> Description:
    """Return a description with what the layout of a known data set says, and refuse one that leaves something open."""
    known = dict(_LAYOUTS.get(layout_of(file) or "", {}))
    if "table" in known and not (folder / known["table"]).is_file():
        del known["table"]
    given = {name: getattr(description, name) for name in description.model_fields_set}
    full = Description(**known | given)
    if missing := [name for name in ("leads", "sampling_rate", "unit") if not getattr(full, name)]:
        raise RecordError(
            "description", "; ".join(f"{name}: is not said; add {name}: {_EXAMPLES[name]}" for name in missing)
        )
    if unknown := [name for name in full.leads if lead_of(name) is None]:
        raise RecordError("description", f"leads: {', '.join(unknown)[:80]} are none of {', '.join(LEADS)}")
    return full


def _step(unit: str) -> tuple[float, bool]:
    """Return what a step is worth in millivolts, and whether that is known."""
    match = _UNIT.fullmatch(unit.strip())
    if match is None:
        raise RecordError("description", "unit: is none of nV, uV, mV, V, none, with or without a number before it")
    return float(match[1] or 1) * _MILLIVOLTS[match[2].lower()], match[2].lower() != "none"


def _of_file(
    file: Path, description: Description, table: PatientTable | None, inside: str
) -> Iterator[Record | Rejected]:
    leads = tuple(str(lead_of(name)) for name in description.leads)
    with opened(file, leads, description.name, description.id) as (array, ids):
        axes = _axes(array, len(leads), description.axes)
        records = array.shape[axes.index("records")] if "records" in axes else 1
        if ids is not None and len(ids) != records:
            raise RecordError("description", f"id: names {len(ids)} records, the array has {records}")
        if array.size // max(records, 1) * 8 > MAX_RECORD_BYTES:
            raise RecordError("too large", f"a record of an array of shape {array.shape}; {CURE}")
        for i in range(records):
            own = ids[i] if ids else str(i) if "records" in axes else ""
            record_id = "/".join(part for part in (inside, own) if part)
            try:
                facts = {} if table is None else table.facts(_key(table, ids, i, file))
                yield _record(array, axes, i, leads, description, facts | {"record_id": record_id})
            except RecordError as error:
                if not record_id:
                    raise
                yield Rejected(record_id, error)


def _key(table: PatientTable, ids: list[str] | None, i: int, file: Path) -> str:
    """Return what a table calls a record: its id, its number in the array, or the name of its file."""
    if ids is not None:
        return ids[i]
    return str(i) if table.by_row else file.stem


def _axes(array: Any, leads: int, stated: tuple[str, ...]) -> tuple[str, ...]:
    """Tell the axes of an array by the number of leads, or take what is stated.

    Raises:
        RecordError: it holds no numbers, or its shape does not fit or tell.
    """
    if array.dtype.kind not in "iuf":
        raise RecordError("unreadable", "the array does not hold numbers")
    shape = array.shape
    if stated:
        if len(stated) != len(shape) or len(set(stated)) < len(stated) or "samples" not in stated:
            raise RecordError("description", f"axes: {len(stated)} are named for an array of shape {shape}")
        if "leads" in stated and shape[stated.index("leads")] != leads:
            raise RecordError("description", f"leads: {leads} are named for an array of shape {shape}")
        return stated
    if len(shape) not in (2, 3):
        raise RecordError("shape", f"{shape} is not [leads, samples] or [records, leads, samples]")
    fitting = [axis for axis in (-2, -1) if shape[axis] == leads]
    if len(fitting) != 1:
        raise RecordError("shape", f"{shape} does not tell which axis are the {leads} leads; add axes: and their names")
    return (("records",) if len(shape) == 3 else ()) + (
        ("leads", "samples") if fitting == [-2] else ("samples", "leads")
    )


def _record(
    array: Any, axes: tuple[str, ...], i: int, leads: tuple[str, ...], description: Description, facts: dict[str, Any]
) -> Record:
    raw = np.asarray(array[tuple(i if axis == "records" else slice(None) for axis in axes)])
    rest = [axis for axis in axes if axis != "records"]
    if "leads" not in rest:
        raw = raw[None]
    elif rest == ["samples", "leads"]:
        raw = raw.T
    millivolts, calibrated = _step(description.unit)
    rate = description.sampling_rate or 0.0  # which a record refuses
    signal = raw.astype(np.float64) * millivolts
    if raw.dtype == np.int16:
        signal[raw == np.iinfo(np.int16).min] = np.nan  # what recorders store where an electrode was off
    return Record(signal.astype(np.float32), rate, leads, source="array", calibrated=calibrated, **facts)


def _sniff(path: Path, head: bytes) -> bool:
    return path.suffix.lower() in _SUFFIXES and re.search(rb"(^|[{,])\s*[\"']?array[\"']?\s*:", head, re.M) is not None


def _sniff_array(path: Path, head: bytes) -> bool:
    return kind_of(path, head) is not None


def _companions(path: Path) -> Iterator[str]:
    description = _described(path)
    files = _files(path, description)
    yield from (file.relative_to(path.parent).as_posix() for file in files)
    yield description.table
    if files and (layout := layout_of(files[0])):
        yield _LAYOUTS[layout]["table"]


register("description", Reader(_sniff, _read, _companions))
register("array", Reader(_sniff_array, _read_array, suffixes=(".npy", ".npz", ".mat", ".h5", ".hdf5")))
