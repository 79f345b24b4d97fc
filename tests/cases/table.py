"""What becomes of hand-made recordings in the states in which people bring them, beside what is right.

``python tests/cases/table.py [FOLDER]``. A case is a folder with ``expect.json``: ``expect`` says in words what is
right, the other keys (``leads``, ``rate``, ``samples``, ``age``, ``sex``, ``records``) in values, ``tolerance_mV`` how
far the signal may be from ``truth_mV.npy`` [leads, samples]. Only ``ssl_ecg.read_records`` and ``ssl_ecg.ingest`` are
used, so a case of any format is a folder more.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

import ssl_ecg
from ssl_ecg.records import LEADS, Record

OF_THE_CASE = ("expect.json", "truth*.npy")
FACTS = ("age", "sex")


@dataclass
class Got:
    """What became of a case: the records of its files, the manifest and the rejected files of its ingest."""

    records: list[Record] = field(default_factory=list)
    manifest: pd.DataFrame | None = None
    reasons: dict[str, str] = field(default_factory=dict)

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
        parts += [f"{path}: {reason}" for path, reason in self.reasons.items()]
        return "; ".join(parts + ([f"findings: {self.findings}"] if self.findings else []))


def expected(case: Path) -> dict[str, Any]:
    """Read what is right."""
    expect: dict[str, Any] = json.loads((case / "expect.json").read_text("utf-8"))
    return expect


def run(case: Path, **settings: Any) -> Got:
    """Ingest the folder of a case, and read the files that gave records."""
    got = Got()
    with TemporaryDirectory() as folder:
        source, archive = Path(folder, "source"), Path(folder, "archive")
        copytree(case, source, ignore=ignore_patterns(*OF_THE_CASE), copy_function=_link)
        try:
            ssl_ecg.ingest(source, archive, progress=False, workers=1, **{"min_duration": 2, **settings})
            got.manifest = pd.read_parquet(archive / "manifest.parquet")
            files = dict.fromkeys(record_id.partition("#")[0] for record_id in got.manifest["record_id"])
            got.records = [record for file in files for record in ssl_ecg.read_records(source / file)]
        except (ValueError, OSError) as error:
            got.reasons["."] = str(error).replace(folder, "")
        if (archive / "rejected.csv").is_file():
            table = pd.read_csv(archive / "rejected.csv", dtype=str, keep_default_na=False)
            got.reasons |= dict(zip(table["path"], table["reason"], strict=True))
    return got


def _link(file: str, to: str) -> None:
    Path(to).symlink_to(Path(file).absolute())


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
    if isinstance(expect.get("records"), int):
        return [] if got.accepted == expect["records"] else [f"{expect['records']} records expected"]
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
        leads = tuple(expect.get("leads", LEADS))
        truth = np.load(case / "truth_mV.npy", allow_pickle=False).astype(float)
        there = record.available(leads)
        off = error(record, truth[[leads.index(lead) for lead in there]], there)
        tolerance = 0.1 if "gap filled" in got.findings else expect.get("tolerance_mV", expect.get("tol", 0.0))
        if not off <= tolerance:
            found.append(f"{off:.4f} mV from the truth, at most {tolerance:g}")
    return found


def main() -> int:
    """Print the table; the exit status is the number of cases that are wrong."""
    logging.disable(logging.WARNING)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    wrong = 0
    for case in sorted(path.parent for path in folder.glob("*/expect.json")):
        got = run(case, **({"leads": ["I", "II"]} if "only I,II wanted" in expected(case)["expect"] else {}))
        found = mistakes(case, got)
        wrong += bool(found)
        verdict = "look " if found is None else "WRONG" if found else "right"
        print(f"{verdict} {case.name}\n      expected: {expected(case)['expect']}\n      got:      {got}")
        if found:
            print(f"      wrong:    {'; '.join(found)}")
    print(f"{wrong} cases are wrong")
    return min(wrong, 100)


if __name__ == "__main__":
    sys.exit(main())
