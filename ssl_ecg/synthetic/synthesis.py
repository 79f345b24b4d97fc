"""Drawing the cohort: as arrays, or as an archive with its labels and its truth."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from ssl_ecg.archive.writer import ArchiveWriter
from ssl_ecg.records.record import LEADS
from ssl_ecg.runs import locked, write_atomically, write_csv
from ssl_ecg.signals.filters import condition
from ssl_ecg.signals.settings import SignalSettings
from ssl_ecg.synthetic.cohort import CONDITIONS, EXCLUSIVE, RHYTHMS, draw_conditions, draw_patient, outcomes
from ssl_ecg.synthetic.electrocardiogram import draw_heart, record_ecg

EPOCH = pd.Timestamp("2010-01-01 08:00")
BLOCK = 256
"""Patients drawn at a time and written as one part."""
SLOWEST, FASTEST = 60.0, 100.0
"""Beats a minute between which sinus rhythm is neither bradycardia nor tachycardia."""

# Sub-streams of a seed: what the heart does never depends on whether and at which rate noise is drawn.
COHORT, PATIENT, VISIT, NOISE = range(4)


@dataclass(frozen=True)
class SyntheticEcgs:
    """ECGs with their truth.

    Attributes:
        signal: float32 [n, 12, T], mV, leads in the order of ``records.LEADS``.
        truth: A row a record: ``record_id``, ``patient_id``, ``visit``, ``age``, ``sex``, ``recorded_at``, a 0/1
            column for each of ``CONDITIONS``, both latent factors, outcomes with their true risks, rates in beats a
            minute, interval limits in seconds from the R time (no P wave: NaN), and for each wave of the dipole its
            centre, rise and fall (seconds) and vector x, y, z (mV).
    """

    signal: np.ndarray
    truth: pd.DataFrame


def draw_ecgs(
    records: int = 100,
    seed: int = 0,
    sampling_rate: float = 100.0,
    duration: float = 10.0,
    visits: tuple[int, int] = (1, 4),
    conditions: Collection[str] | None = None,
    noise: bool = True,
) -> SyntheticEcgs:
    """Draw ECGs of a cohort, unfiltered.

    The same seed gives the same patients, beats and outcomes whatever ``records``, ``sampling_rate`` and ``noise``
    are; only the noise itself differs between sampling rates.

    Args:
        records: How many.
        seed: Seed of everything random.
        sampling_rate: Hz.
        duration: Seconds.
        visits: Fewest and most ECGs of one patient.
        conditions: Names from ``CONDITIONS`` that every record shall show, and no others; None for those of a hospital.
        noise: Whether electrodes pick up anything beside the heart.

    Raises:
        ValueError: If an argument is impossible; the message names it.

    Example:
        >>> ecgs = draw_ecgs(2, conditions=["left_bundle_branch_block"], sampling_rate=500)
        >>> ecgs.signal.shape
        (2, 12, 5000)
    """
    _check(records, seed, sampling_rate, duration, visits, conditions)
    drawn = [
        _draw(seed, patient, count, sampling_rate, duration, conditions, noise)
        for patient, count in enumerate(_visit_counts(records, seed, visits))
    ]
    return _joined([ecg for patient in drawn for ecg in patient][:records])


@locked("folder")
def synthesize(
    folder: str | Path,
    records: int = 2000,
    seed: int = 0,
    sampling_rate: float = 100.0,
    duration: float = 10.0,
    visits: tuple[int, int] = (1, 4),
    workers: int | None = None,
    settings: SignalSettings | None = None,
) -> Path:
    """Write a synthetic archive, with its labels and its truth beside it.

    Beside what every archive holds there are then ``labels/conditions.csv`` (``CONDITIONS``, 0/1),
    ``labels/af_survival.csv`` (``patient_id``, ``time_days``, ``event``, ``prevalent``, and the true ``log_hazard`` a
    year and ``risk_5y``), ``labels/low_lvef.csv`` (``lvef`` in percent, ``low_lvef``, the true
    ``low_lvef_probability``), all by ``record_id``, and ``truth.parquet`` (see :class:`SyntheticEcgs`). The same
    arguments write the same bytes, whatever ``workers`` is. A killed run is continued by calling again.

    Args:
        folder: Folder of the archive; made if need be.
        records: How many ECGs.
        seed: Seed of everything random.
        sampling_rate: Rate of the simulated recorder in Hz, and of the archive unless ``settings`` say otherwise.
        duration: Length of a recording in seconds, likewise.
        visits: Fewest and most ECGs of one patient.
        workers: Processes; None for one a processor.
        settings: What is done to the signals; as :func:`ssl_ecg.archive.ingest` does by default if None.

    Returns:
        ``folder``.

    Raises:
        ValueError: If an argument is impossible; the message names it.
        ArchiveError: If the folder holds an archive that was made otherwise.
    """
    _check(records, seed, sampling_rate, duration, visits)
    settings = settings or SignalSettings(
        sampling_rate=sampling_rate, duration=duration, min_duration=min(duration, SignalSettings().min_duration)
    )
    origin = {"records": records, "seed": seed, "sampling_rate": sampling_rate, "duration": duration, "visits": visits}
    writer = ArchiveWriter(folder, settings, origin={"synthetic": origin})
    counts = _visit_counts(records, seed, visits)
    blocks = [range(first, min(first + BLOCK, len(counts))) for first in range(0, len(counts), BLOCK)]
    draw = partial(_draw_block, counts, records, seed, sampling_rate, duration, settings)
    truths = []
    for number, ecgs in enumerate(_parallel(draw, blocks, workers or os.cpu_count() or 1)):
        truths.append(ecgs.truth)
        if number >= len(writer.committed):
            writer.write_part(ecgs.signal, _manifest(ecgs.truth, sampling_rate, duration))
    _write_truth(Path(folder), pd.concat(truths, ignore_index=True))
    writer.finish()
    return Path(folder)


def _parallel(draw: Callable[[range], SyntheticEcgs], blocks: list[range], workers: int) -> Iterator[SyntheticEcgs]:
    if min(workers, len(blocks)) == 1:
        yield from map(draw, blocks)
        return
    with ProcessPoolExecutor(min(workers, len(blocks))) as pool:
        yield from pool.map(draw, blocks)


def _draw_block(
    counts: list[int],
    records: int,
    seed: int,
    sampling_rate: float,
    duration: float,
    settings: SignalSettings,
    patients: range,
) -> SyntheticEcgs:
    """Conditioned ECGs of some of the patients."""
    drawn = (ecg for p in patients for ecg in _draw(seed, p, counts[p], sampling_rate, duration, None, noise=True))
    wanted = islice(drawn, records - sum(counts[: patients.start]))
    chosen = [LEADS.index(lead) for lead in settings.leads]
    return _joined([(condition(signal[chosen], sampling_rate, settings), truth) for signal, truth in wanted])


def _manifest(truth: pd.DataFrame, sampling_rate: float, duration: float) -> pd.DataFrame:
    manifest = truth[["record_id", "patient_id", "age", "sex", "recorded_at"]]
    return manifest.assign(source="synthetic", original_rate=sampling_rate, original_duration=duration, calibrated=True)


def _write_truth(folder: Path, truth: pd.DataFrame) -> None:
    tables = {
        "conditions": [*CONDITIONS],
        "af_survival": ["patient_id", "time_days", "event", "prevalent", "log_hazard", "risk_5y"],
        "low_lvef": ["lvef", "low_lvef", "low_lvef_probability"],
    }
    (folder / "labels").mkdir(exist_ok=True)
    for name, columns in tables.items():
        write_csv(folder / "labels" / f"{name}.csv", truth[["record_id", *columns]], float_format="%.6g")
    write_atomically(folder / "truth.parquet", truth.to_parquet(index=False))


def _check(
    records: int,
    seed: int,
    sampling_rate: float,
    duration: float,
    visits: tuple[int, int],
    conditions: Collection[str] | None = None,
) -> None:
    for name, value, least in (("records", records, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value!r}")
    if sampling_rate < 50:
        raise ValueError(f"sampling_rate must be at least 50 Hz, or QRS complexes are lost, got {sampling_rate!r}")
    if duration < 5:
        raise ValueError(f"duration must be at least 5 seconds, or a rhythm cannot be seen, got {duration!r}")
    if not 1 <= visits[0] <= visits[1]:
        raise ValueError(f"visits must be (fewest, most) with 1 <= fewest <= most, got {visits!r}")
    if unknown := sorted(set(conditions or ()) - set(CONDITIONS)):
        raise ValueError(f"conditions must be among {', '.join(CONDITIONS)}; got {', '.join(unknown)}")
    for group in EXCLUSIVE:
        if len(both := sorted(set(conditions or ()).intersection(group))) > 1:
            raise ValueError(f"conditions must not hold {' and '.join(both)} together")


def _visit_counts(records: int, seed: int, visits: tuple[int, int]) -> list[int]:
    """Visits of each patient, of as few patients as make ``records``; those of the last may be more than needed."""
    counts = _rng(seed, COHORT).integers(visits[0], visits[1] + 1, records)
    patients = np.searchsorted(np.cumsum(counts), records) + 1
    return counts[:patients].tolist()


def _rng(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


Ecg = tuple[np.ndarray, dict[str, object]]


def _draw(
    seed: int,
    patient_number: int,
    count: int,
    sampling_rate: float,
    duration: float,
    conditions: Collection[str] | None,
    noise: bool,
) -> list[Ecg]:
    """All visits of one patient: signal [12, T] and row of truth."""
    rng = _rng(seed, PATIENT, patient_number)
    patient = draw_patient(count, rng)
    heart = draw_heart(patient, rng)
    ecgs = []
    for visit, day in enumerate(patient.visits):
        rng = _rng(seed, VISIT, patient_number, visit)
        present, rate = draw_conditions(patient, float(day), rng)
        if conditions is not None:
            present, rate = frozenset(conditions), _rate_of(conditions, rate)
        result = outcomes(patient, float(day), rng)
        noise_rng = _rng(seed, NOISE, patient_number, visit) if noise else None
        signal, measured = record_ecg(patient, heart, present, rate, sampling_rate, duration, rng, noise_rng)
        present |= {_rhythm_name(measured["sinus_rate"])}
        ecgs.append(
            (
                signal.astype(np.float32),
                {
                    "record_id": f"p{patient_number:05d}/v{visit}",
                    "patient_id": f"p{patient_number:05d}",
                    "visit": visit,
                    "age": round(patient.age + float(day) / 365.25, 1),
                    "sex": patient.sex,
                    "recorded_at": EPOCH + pd.Timedelta(days=patient.first_visit + float(day)),
                    **{name: int(name in present) for name in CONDITIONS},
                    "atrial_factor": patient.atrial,
                    "ventricular_factor": patient.ventricular,
                    **result,
                    **measured,
                },
            )
        )
    return ecgs


def _rhythm_name(sinus_rate: float) -> str:
    if np.isnan(sinus_rate):
        return "atrial_fibrillation"
    return RHYTHMS[1] if sinus_rate < SLOWEST else RHYTHMS[2] if sinus_rate > FASTEST else RHYTHMS[0]


def _rate_of(conditions: Collection[str], rate: float) -> float:
    """The nearest rate that shows the wanted rhythm, clear of the limit by more than it varies in a record."""
    if "atrial_fibrillation" in conditions:
        return rate
    if "sinus_bradycardia" in conditions:
        return min(rate, 0.77 * SLOWEST + 0.08 * rate)
    if "sinus_tachycardia" in conditions:
        return max(rate, 1.05 * FASTEST + 0.15 * rate)
    return float(np.clip(rate, 1.1 * SLOWEST, 0.92 * FASTEST))


def _joined(ecgs: list[Ecg]) -> SyntheticEcgs:
    signals, rows = zip(*ecgs, strict=True)
    return SyntheticEcgs(np.stack(signals), pd.DataFrame(list(rows)))
