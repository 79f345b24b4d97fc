"""What becomes of hand-made recordings in the states in which people bring them, beside what is right.

``python tests/cases/table.py [FOLDER]``. A case is a folder with ``expect.json``: ``expect`` says in words what is
right, the other keys (``leads``, ``rate``, ``samples``, ``age``, ``sex``, ``records``, ``labels``) in values,
``tolerance_mV`` how far the signal may be from ``truth_mV.npy`` [leads, samples]. Where ``records`` names them, each
has ``samples`` and a truth of its own, ``truth_ID_mV.npy``. Where the words leave the unit to the user, it is stated:
mV. Only ``read_records`` and ``ingest`` are used, so a case of any format is a folder more.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import scipy.signal  # noqa: F401 - here, since the process that reads a case begins as a copy of this one

from ssl_ecg.archive import ingest
from ssl_ecg.records import LEADS, Record, read_records
from ssl_ecg.signals import SignalSettings

OF_THE_CASE = ("expect.json", "truth*.npy")
FACTS = ("age", "sex")
TOLERANCE = 0.001  # mV, a step of an archive
OF_SIGNALS = frozenset(SignalSettings.model_fields)


@dataclass
class Got:
    """What became of a case: the records of its files, the manifest and the rejected files of its ingest."""

    records: list[Record] = field(default_factory=list)
    manifest: pd.DataFrame | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    labels: list[pd.DataFrame] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """How many records the archive has."""
        return 0 if self.manifest is None else len(self.manifest)

    @property
    def findings(self) -> str:
        """The findings of the accepted records."""
        return "" if self.manifest is None else " | ".join(filter(None, self.manifest.get("findings", [])))

    def __str__(self) -> str:
        parts = [f"{self.accepted} accepted"]
        for record in self.records:
            known = [f"{name} {value}" for name in FACTS if (value := getattr(record, name)) is not None]
            parts.append(" ".join([f"{record.sampling_rate:g} Hz, {record.signal.shape[1]} samples", *known]))
        if self.manifest is not None and len(self.manifest) > 1:
            parts += [f"{name} {', '.join(map(str, self.manifest[name]))}" for name in FACTS]
        parts += [f"{path}: {reason}" for path, reason in self.reasons.items()]
        return "; ".join(parts + ([f"findings: {self.findings}"] if self.findings else []))


def expected(case: Path) -> dict[str, Any]:
    """Read what is right."""
    expect: dict[str, Any] = json.loads((case / "expect.json").read_text("utf-8"))
    return expect


def run(case: Path, **settings: Any) -> Got:
    """Ingest the folder of a case, and read the files that gave records.

    Args:
        case: the folder.
        **settings: of :class:`SignalSettings`, or arguments of ``ingest``, whose page of a report nobody needs here.
    """
    got, signals = Got(), {name: settings.pop(name) for name in OF_SIGNALS & settings.keys()}
    with TemporaryDirectory() as folder:
        source, archive = Path(folder, "source"), Path(folder, "archive")
        copytree(case, source, ignore=ignore_patterns(*OF_THE_CASE), copy_function=_link)
        if "user states" in expected(case)["expect"]:
            _state_unit(source)
        try:
            how = SignalSettings(**{"min_duration": 2, **signals})
            ingest(source, archive, how, progress=False, workers=1, **settings)
            got.manifest = pd.read_parquet(archive / "manifest.parquet")
            files = dict.fromkeys(record_id.partition("#")[0] for record_id in got.manifest["record_id"])
            got.records = [record for file in files for record in read_records(source / file)]
            got.labels = [pd.read_csv(table) for table in (archive / "labels").glob("*.csv")]
        except (ValueError, OSError) as error:
            got.reasons["."] = str(error).replace(folder, "")
        if (archive / "rejected.csv").is_file():
            table = pd.read_csv(archive / "rejected.csv", dtype=str, keep_default_na=False)
            got.reasons |= dict(zip(table["path"], table["reason"], strict=True))
    return got


def _link(file: str, to: str) -> None:
    Path(to).symlink_to(Path(file).absolute())


def _state_unit(source: Path) -> None:
    """Write the description that a user writes whose arrays lack nothing but their unit."""
    for array in sorted(source.glob("*.h*5")):
        array.with_suffix(".yaml").write_text(f"array: {array.name}\nunit: mV\n", encoding="utf-8")


def error(record: Record, truth: np.ndarray, leads: tuple[str, ...] = LEADS) -> float:
    """Return the largest difference in millivolts; what was cut from the begin of a record is looked for.

    Args:
        record: with at least the given leads, or such that they can be derived.
        truth: float [L, T], millivolts; the record may be longer or shorter.
        leads: of the truth.
    """
    signal = record.select(leads)[:, : truth.shape[1]]
    count = signal.shape[1]
    starts = range(truth.shape[1] - count + 1)
    begin = min(starts, key=lambda start: float(np.abs(signal[:, :50] - truth[:, start : start + count][:, :50]).max()))
    return float(np.abs(signal - truth[:, begin : begin + count]).max())


def mistakes(case: Path, got: Got) -> list[str] | None:
    """Compare what became of a case with what is right; None where only a person can."""
    expect = expected(case)
    words = expect["expect"].lower()
    if isinstance(expect.get("records"), dict):
        return _mistakes_of_many(case, expect, got)
    counted = re.match(r"(\d+) records", words)
    if (records := expect.get("records", int(counted[1]) if counted else None)) is not None and "file" not in expect:
        if " or an error" in words and got.reasons and not got.accepted:
            return []
        return [] if got.accepted == records else [f"{records} records expected"]
    if words.startswith("error before any signal"):
        return [] if got.reasons.keys() == {"."} and got.manifest is None else ["no error"]
    if "file" not in expect and "leads" not in expect:
        return None
    may_reject, may_accept = "reject" in words or "refuse" in words, not words.startswith("reject")
    if not got.accepted:
        return [] if may_reject else ["rejected"]
    found = [] if may_accept or (" or " in words and got.findings) else ["accepted"]
    if "finding" in words and not got.findings and not ("cut" in words or may_reject):
        found.append("no finding")
    if len(got.records) != 1:
        return [*found, f"{len(got.records)} records were read"]
    record = got.records[0]
    found += [f"{name} {expect[name]}" for name in FACTS if name in expect and getattr(record, name) != expect[name]]
    if record.sampling_rate != expect["rate"]:
        found.append(f"{expect['rate']} Hz")
    if expect.get("samples") not in (None, record.signal.shape[1]):
        found.append(f"{expect['samples']} samples")
    if (case / "truth_mV.npy").is_file() and "amplitude" not in got.findings:
        tolerance = 0.1 if "gap filled" in got.findings else expect.get("tolerance_mV", expect.get("tol", TOLERANCE))
        leads = tuple(expect.get("leads", LEADS))
        truth = np.load(case / "truth_mV.npy", allow_pickle=False).astype(float)
        there = record.available(leads)
        off = error(record, truth[[leads.index(lead) for lead in there]], there)
        if not off <= tolerance:
            found.append(f"{off:.4f} mV from the truth, at most {tolerance:g}")
    return found


def _mistakes_of_many(case: Path, expect: dict[str, Any], got: Got) -> list[str]:
    """Compare the records of a file that holds many, by their ids, and the labels that came with them."""
    found = [] if got.accepted == len(expect["records"]) else [f"{len(expect['records'])} records expected"]
    records = {record.record_id: record for record in got.records}
    for name, said in expect["records"].items():
        if (record := records.get(name)) is None:
            found.append(f"{name} was not read")
            continue
        if record.sampling_rate != expect["rate"] or record.signal.shape[1] != said["samples"]:
            found.append(f"{name}: {expect['rate']} Hz, {said['samples']} samples")
        truth = np.load(case / f"truth_{name}_mV.npy", allow_pickle=False).astype(float)
        off = error(record, truth, LEADS)
        if not off <= (tolerance := expect.get("tolerance_mV", TOLERANCE)):
            found.append(f"{name}: {off:.4f} mV from the truth, at most {tolerance:g}")
    for label, wanted in expect.get("labels", {}).items():
        rows = [row for table in got.labels if label in table for row in table.loc[table[label] == 1, "record_id"]]
        if {row.rpartition("#")[2] for row in rows} != set(map(str, wanted)):
            found.append(f"{label}: {wanted}")
    return found


def main() -> int:
    """Print the table; the exit status is the number of cases that are wrong."""
    logging.disable(logging.WARNING)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    wrong, began = 0, time.perf_counter()
    for case in sorted(path.parent for path in folder.glob("*/expect.json")):
        got = run(case, **({"leads": ["I", "II"]} if "only I,II wanted" in expected(case)["expect"] else {}))
        found = mistakes(case, got)
        wrong += bool(found)
        verdict = "look " if found is None else "WRONG" if found else "right"
        print(f"{verdict} {case.name}\n      expected: {expected(case)['expect']}\n      got:      {got}", flush=True)
        if found:
            print(f"      wrong:    {'; '.join(found)}")
    print(f"{wrong} cases are wrong; {time.perf_counter() - began:.0f} s")
    return min(wrong, 100)


if __name__ == "__main__":
    sys.exit(main())
