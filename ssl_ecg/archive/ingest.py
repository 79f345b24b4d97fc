"""Many files in, one archive out: in parallel, resumable, and never stopped by a bad file."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ssl_ecg.archive import cluster as workplaces
from ssl_ecg.archive.finding import Job, file_of, find
from ssl_ecg.archive.ingest_report import IngestReport, report_of, tell_of_table
from ssl_ecg.archive.known import Known
from ssl_ecg.archive.patient_ids import Times, as_secret, check_times, id_scheme
from ssl_ecg.archive.patients import Patients
from ssl_ecg.archive.processes import SECONDS, in_order
from ssl_ecg.archive.reading import Outcome, Piece, Reading, died, pieces_of, read_job
from ssl_ecg.archive.record_ids import SCHEME, RecordIds
from ssl_ecg.archive.windows import SPAN, Windows, how_many, of_windows
from ssl_ecg.archive.writer import COLUMNS, SAMPLE, ArchiveWriter, Written
from ssl_ecg.records import QualityLimits, RecordError
from ssl_ecg.runs import locked, unescaped, write_csv
from ssl_ecg.signals import SignalSettings

RECORDS_PER_PART = 2048  # some 50 MB at 100 Hz, 250 MB at 500 Hz; what a kill can cost
_ORIGINAL = "#original"  # in rows until they are committed: the record's id in its source

log = logging.getLogger(__name__)


@locked("archive")
def ingest(
    source: str | Path,
    archive: str | Path,
    settings: SignalSettings | None = None,
    limits: QualityLimits | None = None,
    workers: int | None = None,
    salt: str | bytes | None = None,
    progress: bool = True,
    patients: str | Path | pd.DataFrame | None = None,
    partial_leads: bool = False,
    gain: float = 1.0,
    lead_names: Mapping[str, str] | None = None,
    seconds_per_file: float = SECONDS,
    times: Times = "shifted",
    windows: Windows = "first",
    cluster: str | None = None,
) -> IngestReport:
    """Read every recording below a folder into an archive.

    The same call continues after a kill, and a call with another source adds to a finished archive. Folders of known
    data sets (``ssl_ecg.sources``), at any depth, bring patients, age, sex and label tables with them.

    A record's id is its path relative to ``source`` without suffix, then ``#`` and its name in the file where that
    holds many, then ``@`` and its begin where it is a later window of a recording (``r7@10s``). A patient id is
    prefixed with the name of the data set's folder; a record without one is a patient of its own. Without ``salt`` all
    of this is kept as it is.

    Args:
        source: folder of recordings, at any depth; links to folders are not followed.
        archive: folder of the archive; made if need be.
        settings: leads, rate, length, filters; by default 12 leads, 100 Hz, 10 s, 0.5-40 Hz.
        limits: thresholds of the quality check.
        workers: processes that read; by default one per core.
        salt: secret of 16 characters or more. Patient ids are replaced by their HMAC-SHA256 under it, record ids and
            paths by keyed ones that ``ARCHIVE.ids.csv`` beside the archive explains, ages over 89 by 90; times are
            told as ``times`` says, and of reasons in ``rejected.csv`` only the kind.
        progress: whether to draw a progress bar.
        patients: CSV or Parquet file, or a table: ``record_id`` and any of ``patient_id``, ``recorded_at``, ``age``,
            ``sex`` (which win over what the files say) and further columns, all of which go into the manifest.
        partial_leads: keep records that lack some of the leads: these hold 0, and the manifest's ``leads`` names the
            others.
        gain: what every signal is multiplied by, where the files of this source state a wrong unit or gain.
        lead_names: leads by what the files call them, beside the names that are known: ``{"MLII": "II"}``.
        seconds_per_file: a file that gives no record, and does not end, for so long is rejected.
        times: under a salt: "shifted" by whole days, the same for all records of a patient, "year" for 1 January of the
            year, "kept".
        windows: of recordings that are longer than the archive's signals, the "first" that fits, so many, or "all", one
            after the other. They are records of one patient; ``start`` in the manifest says where they begin.
        cluster: address of a Dask scheduler whose workers read, or "local" for workers on this machine. They see
            ``source`` and ``archive`` under the same paths. Only where the parts of the archive end differs.

    Returns:
        What was accepted and rejected, and the opened archive.

    Raises:
        FileNotFoundError: ``source`` is no folder, or holds no recording; ``patients``, or a table of a data set, is
            not there.
        ValueError: a setting, or a column or value of ``patients``, cannot be.
        ClusterError: the cluster cannot be used, or was lost; the same call continues.
        ArchiveError: the archive there was made with other settings, limits or salt, an ingest of another source into
            it is unfinished, or no file could be used.
        OSError: the disk is full, or another process writes this archive; what is committed stays, and the same call
            continues.
    """
    source, archive = Path(source), Path(archive)
    settings, limits = settings or SignalSettings(), limits or QualityLimits()
    if workers is not None and workers < 1:
        raise ValueError(f"workers={workers}: is no number of processes; give 1 or more")
    if cluster is not None:
        workplaces.check(cluster, workers)
    secret = as_secret(salt)
    check_times(times)
    most = how_many(windows)
    table = None if patients is None or isinstance(patients, pd.DataFrame) else Path(patients)
    found = find(source, settings.sampling_rate, archive, table)
    if secret is not None:  # the first folder below the source may be a patient's
        found = replace(found, jobs=[job if job.listed else replace(job, source=job.patients) for job in found.jobs])
    people = Patients(found.entries, patients, secret, times)
    names = RecordIds(archive, secret)

    run = str(source.resolve()) + (f", patients {people.digest[:8]}" if people.digest else "")
    run += (f", gain {gain:g}" if gain != 1 else "") + (f", leads {sorted(lead_names.items())}" if lead_names else "")
    origin = {"quality": limits.to_dict(), "patient_ids": id_scheme(secret)}
    if secret is not None:
        origin |= {"record_ids": SCHEME, "times": times}
    run += f", windows {windows}" if most != 1 else ""
    writer = ArchiveWriter(archive, settings, run=run, origin=origin)
    writer.require_types(people.columns)
    pending, before = _pending(found.jobs, writer, names, most)
    jobs, labelled, looked_at = found.jobs, found.labels, set[str]()
    if writer.finished:
        by_path = {job.path: job for job in jobs}
        looked_at = {names.path(path, by_path.get(path)) for path in found.files - before.keys()}
    del found  # the names of a million files

    how = Reading(settings, limits, partial_leads, gain, lead_names or {}, most)
    with _bar(progress) as bar, ExitStack() as stack:
        task = bar.add_task("ingest", total=len(jobs), completed=len(jobs) - len(pending))
        done = partial(bar.advance, task)
        if cluster is None:
            read = partial(read_job, source=source, how=how)
            outcomes = stack.enter_context(
                closing(in_order(read, pending, workers or os.cpu_count() or 1, died, seconds_per_file))
            )
            pieces = pieces_of(outcomes, RECORDS_PER_PART, done)
        else:
            slices = workplaces.Slices(
                source.resolve(), writer.journal.resolve(), how, seconds_per_file, RECORDS_PER_PART
            )
            pieces = stack.enter_context(closing(workplaces.convert(slices, pending, cluster, workers, done)))
        for piece in pieces:
            ids, contents = set[str](), dict[str, str]()
            settled = [
                _settled(job, outcome, people, names, writer.known, ids, contents) for job, outcome in piece.outcomes
            ]
            _commit(writer, settled, _signals(piece, settled, settings), people.columns, names)
    by_id = {job.record_id: job for job in jobs if job.record_id} if labelled else {}
    spans = {}
    for name, labels in labelled.items():
        renamed = [names.record(record_id, file_of(record_id, by_id)) for record_id in labels["record_id"]]
        labels = labels.assign(record_id=renamed)
        if set(SPAN) <= set(labels):
            spans[name] = labels
        else:
            _write_labels(writer.folder / "labels" / f"{name}.csv", labels)
    reasons = Counter(reason.split(":")[0] for _, reason in writer.rejected)
    opened = writer.finish(looked_at)
    for name, labels in spans.items():  # a kill before this costs a call more
        _write_labels(
            opened.folder / "labels" / f"{name}.csv", of_windows(labels, opened.manifest, settings.sampling_rate)
        )
    names.finish()
    tell_of_table(jobs, people, names, opened, writer)
    report = report_of(opened, writer.finished, reasons, before.total())
    for line in report.summary:
        log.info("%s", line)
    return report


def _pending(jobs: list[Job], writer: ArchiveWriter, names: RecordIds, most: float) -> tuple[list[Job], Counter[str]]:
    """Return the files that are still to be read, and how many records of each the finished archive holds.

    Outcomes are committed in the order of the files, so only the last file of which some are committed can be read in
    part. A file that gave records to the finished archive is not read again, one that was rejected is.
    """
    before: Counter[str] = Counter()
    if not len(writer.known) and not writer.rejected:
        return jobs, before
    by_id = {names.record(job.record_id, job): job for job in jobs if job.record_id}
    by_path = {names.path(job.path, job): job for job in jobs}
    now: Counter[str] = Counter()
    elsewhere: dict[str, str] = {}
    for row, (record_id, there) in enumerate(writer.known.rows()):
        if (job := file_of(record_id, by_id)) is None:
            continue
        if job.source == there:
            (before if row < writer.finished else now)[job.path] += 1
        elif names.record(job.record_id, job) == record_id and job.reason is None:
            elsewhere[job.path] = there
    for rejected, _ in writer.rejected:
        if (job := file_of(rejected, by_path)) is not None:
            now[job.path] += 1
    whole = {path for path, _ in writer.rejected}
    last = max(now, default="")
    pending = []
    for job in jobs:
        record_id, path = names.record(job.record_id, job), names.path(job.path, job)
        # Of several windows, the first has the file's own id too.
        done = not whole.isdisjoint((record_id, path)) or (most == 1 and record_id in writer.known)
        if job.path == last and job.reader and not done:
            pending.append(replace(job, skip=now[job.path]))
        elif not now[job.path] and not before[job.path]:
            if other := elsewhere.get(job.path):
                job = Job(job.path, reason=f"duplicate record id: {job.record_id} is in the archive from {other}")
            pending.append(job)
    return pending, before


def _settled(
    job: Job,
    outcome: Outcome,
    people: Patients,
    names: RecordIds,
    known: Known,
    ids: set[str],
    contents: dict[str, str],
) -> Outcome:
    """Complete the row of a record with what is known beside its file; refuse one whose id or signal is there.

    Args:
        job: the file.
        outcome: what became of it.
        people: what is known.
        names: what records are called.
        known: the records that are committed.
        ids: of the others; this one's is added if it is kept.
        contents: ids of the others by the hashes of their signals, likewise.
    """
    if outcome.row is None:
        return _rejected(job, outcome, outcome.reason or "", names)
    window = "" if outcome.first else outcome.window
    record_id = names.record(outcome.row["record_id"], job) + window
    try:
        if record_id in known or record_id in ids:
            raise RecordError("duplicate record id", record_id)
        row = people.complete(job, outcome.row)
        # The same ECG under two names would train as one patient and test as another.
        if original := known.of_signal(outcome.content) or contents.get(outcome.content):
            raise RecordError("copy", f"the same signal as {original}")
    except RecordError as error:
        return _rejected(job, outcome, str(error), names)
    ids.add(record_id)
    contents[outcome.content] = record_id
    names.note(record_id, outcome.row["record_id"] + window)
    row |= {"record_id": record_id, "content": outcome.content, _ORIGINAL: row["record_id"]}
    return replace(outcome, row=row)


def _rejected(job: Job, outcome: Outcome, reason: str, names: RecordIds) -> Outcome:
    named = names.path(outcome.path, job) + outcome.window
    names.note(named, outcome.path + outcome.window, reason)
    return Outcome(named, names.told(reason))


def _signals(piece: Piece, settled: Sequence[Outcome], settings: SignalSettings) -> NDArray[np.int16] | Written:
    """Return the signals of the records that are kept of a piece."""
    before = [outcome for _, outcome in piece.outcomes]
    kept = np.array([after.row is not None for was, after in zip(before, settled) if was.row is not None], dtype=bool)
    shape = (-1, len(settings.leads), settings.samples)
    if piece.written is None:
        there = [after.signal for after in settled if after.signal is not None]
        return np.stack(there) if there else np.empty((0, *shape[1:]), dtype=SAMPLE)
    if kept.all():
        return piece.written
    return np.fromfile(piece.written.file, dtype=SAMPLE).reshape(shape)[kept]


def _commit(
    writer: ArchiveWriter,
    outcomes: Sequence[Outcome],
    signals: NDArray[np.int16] | Written,
    columns: pd.DataFrame,
    names: RecordIds,
) -> None:
    names.keep()
    manifest = pd.DataFrame([o.row for o in outcomes if o.row is not None], columns=[*COLUMNS, _ORIGINAL])
    manifest = manifest.join(columns.reindex(manifest.pop(_ORIGINAL)).reset_index(drop=True))
    rejected = [(o.path, o.reason) for o in outcomes if o.reason is not None]
    writer.write_part(signals, manifest, rejected)


def _write_labels(path: Path, table: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        table = pd.concat([unescaped(pd.read_csv(path, dtype={"record_id": str}, keep_default_na=False)), table])
    write_csv(path, table.drop_duplicates("record_id", keep="last"))


def _bar(progress: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not progress)
