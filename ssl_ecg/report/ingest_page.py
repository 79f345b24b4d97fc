"""What an archive holds and what did not get into it, as one self-contained HTML page beside its manifest."""

from __future__ import annotations

import io
import re
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from ssl_ecg.archive import Archive
from ssl_ecg.explain.ecg_paper import ecg_figure
from ssl_ecg.runs import write_atomically

EXAMPLES = 12
ROWS = 12  # of a table; the others are counted together
UNKNOWN = "unknown format"

_DOTS = 90  # an inch
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")
Row = tuple[str, int]


def write_ingest_page(archive: Archive) -> Path:
    """Write ``ingest.html`` into an archive; everything is counted from its manifest and ``rejected.csv``.

    It has no scripts, loads nothing, and names no record, patient, file or folder.

    Args:
        archive: a finished one.

    Returns:
        The page.
    """
    manifest, rejected = archive.manifest, archive.rejected
    kind = rejected["reason"].map(lambda reason: reason.partition(":")[0])
    unknown = kind == UNKNOWN
    known = archive.patient_known
    environment = Environment(loader=PackageLoader("ssl_ecg.report", "."), autoescape=True, undefined=StrictUndefined)
    environment.filters["number"] = lambda count: f"{count:,}"
    page = environment.get_template("ingest.html.j2").render(
        accepted=len(archive),
        rejected=int((~unknown).sum()),
        unknown=int(unknown.sum()),
        unknown_patients=int((~known).sum()),
        settings=archive.settings,
        next_steps=_next_steps(archive, kind),
        tables=[
            ("Rejected", "recordings", _counted(kind[~unknown])),
            ("No recording", "files", _counted(rejected["path"][unknown].map(_suffix))),
            ("Findings", "records", _findings(manifest["findings"])),
            ("Sampling rate", "records", _counted(manifest["original_rate"].map(lambda rate: f"{rate:g} Hz"))),
            ("Length", "records", _lengths(manifest["original_duration"])),
            ("Leads recorded", "records", _counted(manifest["leads"])),
            ("Age", "records", _ages(manifest["age"])),
            ("Sex", "records", _counted(manifest["sex"].astype(object).fillna("unknown"))),
            ("Records of a patient", "patients", _visits(manifest["patient_id"][known])),
        ],
        examples=[_drawn(archive, row) for row in _spread(len(archive))],
    )
    path = archive.folder / "ingest.html"
    write_atomically(path, page)
    return path


def _counted(values: pd.Series) -> list[Row]:
    """Return how often each value is there, the most frequent first, rare ones together."""
    counts = values.value_counts()
    rows = [(str(name), int(count)) for name, count in counts.items()]
    rest = sum(count for _, count in rows[ROWS:])
    return [*rows[:ROWS], *([(f"{len(rows) - ROWS} others", rest)] if rest else [])]


def _suffix(path: str) -> str:
    suffix = PurePosixPath(path.partition("#")[0]).suffix
    return suffix.lower() if _SUFFIX.fullmatch(suffix) else "none"


def _findings(findings: pd.Series) -> list[Row]:
    """Count the names of findings, each once a record."""
    names = [{part.partition(":")[0] for part in text.split("; ") if part} for text in findings.fillna("")]
    every = pd.Series([name for found in names for name in sorted(found)], dtype=object)
    return [*_counted(every), ("none", sum(not found for found in names))]


def _grouped(values: pd.Series, edges: Iterable[float], unit: str) -> list[Row]:
    """Count numbers between edges, each group from its edge to below the next; blanks are unknown."""
    edges = list(edges)
    place = np.searchsorted(edges, values.dropna(), side="right") - 1
    rows = [
        (f"{low:g} to {high:g} {unit}" if high < np.inf else f"{low:g} {unit} and more", int((place == n).sum()))
        for n, (low, high) in enumerate(zip(edges, [*edges[1:], np.inf], strict=True))
    ]
    blank = int(values.isna().sum())
    return [row for row in rows if row[1]] + ([("unknown", blank)] if blank else [])


def _ages(ages: pd.Series) -> list[Row]:
    return _grouped(ages, range(0, 100, 10), "years")


def _lengths(seconds: pd.Series) -> list[Row]:
    return _grouped(seconds, (0, 5, 10, 11, 30, 60, 600, 3600, 86400), "s")


def _visits(patients: pd.Series) -> list[Row]:
    counts = patients.value_counts()
    groups = ((1, 1), (2, 2), (3, 5), (6, 10), (11, None))
    rows = []
    for low, high in groups:
        name = f"{low} and more" if high is None else f"{low}" if high == low else f"{low} to {high}"
        rows.append((name, int(((counts >= low) & (counts <= (high or np.inf))).sum())))
    return [row for row in rows if row[1]]


def _next_steps(archive: Archive, kind: pd.Series) -> list[tuple[str, str]]:
    """Return what a person should do, and the command or setting that does it."""
    manifest, steps = archive.manifest, []
    findings = manifest["findings"].fillna("")
    many = (manifest["original_duration"] >= 2 * archive.settings.duration) & (manifest["start"] < 1e-9)
    later = (manifest["start"] > archive.settings.duration).any()
    if unknown := int((~archive.patient_known).sum()):
        steps.append((f"Say whose {unknown:,} records are: without, test patients may be known from training.",
                      "patients=people.csv"))  # fmt: skip
    if many.any() and not later:
        steps.append((f"{int(many.sum()):,} recordings are at least twice as long as what is kept of them; cut them "
                      "into windows, in a new archive.", "windows=all"))  # fmt: skip
    if count := int(findings.str.contains("unusual amplitude").sum()):
        steps.append((f"{count:,} records have an amplitude that hearts do not have; look at their findings for the "
                      "likely factor, and ingest that source with it.", "gain=FACTOR"))  # fmt: skip
    if count := int(findings.str.contains("einthoven").sum()):
        steps.append((f"{count:,} records do not obey Einthoven's law: electrodes or leads are exchanged, or one has "
                      "another gain.", "quality.refuse"))  # fmt: skip
    if count := int((kind == "missing lead").sum()):
        steps.append((f"{count:,} recordings lack leads; keep them with those that they have, or name leads that are "
                      "called otherwise.", "partial_leads=true, lead_names={MLII: II}"))  # fmt: skip
    if count := int((kind == "missing library").sum()):
        steps.append((f"{count:,} files need a library.", 'pip install "ssl-ecg[vendor]"'))
    steps.append(
        ("Look at rejected.csv, beside this page: every file that gave no record is there, with the reason.", "")
    )
    steps.append(("Pretrain on this archive.", "ssl-ecg pretrain ARCHIVE ENCODER"))
    return steps


def _spread(records: int) -> list[int]:
    """Return rows that are spread evenly over an archive."""
    return sorted({round(row) for row in np.linspace(0, records - 1, min(EXAMPLES, records))})


def _drawn(archive: Archive, row: int) -> dict[str, Any]:
    """Draw a record on paper, as far as it was recorded."""
    record = archive[row]
    leads = [lead for lead in archive.leads if lead in record["leads"].split()]
    signal = record["signal"][[archive.leads.index(lead) for lead in leads], : record["recorded"]]
    figure = ecg_figure(signal, leads, archive.sampling_rate, calibrated=bool(record["calibrated"]))
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=_DOTS)
    said = [] if pd.isna(record["age"]) else [f"{record['age']:.0f} years"]
    said += [] if pd.isna(record["sex"]) else [record["sex"]]
    said += [record["findings"]] if isinstance(record["findings"], str) and record["findings"] else []
    return {"row": row, "image": b64encode(image.getvalue()).decode(), "said": ", ".join(said)}
