"""What the quality check must catch, one defect at a time, and how it does on real recordings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.records import (
    LEADS,
    QualityLimits,
    Record,
    RecordError,
    check_quality,
    check_record,
    limb_lead_residual,
    read_wfdb,
)


def flat(x: np.ndarray) -> None:
    x[7, 2000:3500] = 0.3


def silent(x: np.ndarray) -> None:
    x[7] = 0.0005 * np.sin(np.arange(x.shape[1]))


def saturated(x: np.ndarray) -> None:
    x[7] = np.clip(x[7], -0.05, 0.1)


def popped(x: np.ndarray) -> None:
    x[7, 2250:2260] += 100


def not_a_number(x: np.ndarray) -> None:
    x[7, 100] = np.nan


def infinite(x: np.ndarray) -> None:
    x[7, 100] = np.inf


def copied(x: np.ndarray) -> None:
    x[7] = x[8]


def wild(x: np.ndarray) -> None:
    x[7] += 6 * np.sin(np.arange(x.shape[1]) / 5)


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (flat, "flat lead"),
        (silent, "flat lead"),
        (saturated, "saturated lead"),
        (popped, "electrode artefact"),
        (not_a_number, "not a number"),
        (infinite, "not a number"),
        (copied, "identical leads"),
        (wild, "amplitude"),
    ],
)
def test_each_defect_is_named_with_its_lead(heartbeat, spoil, kind) -> None:
    signal = heartbeat()
    check_quality(signal, 500, LEADS)
    spoil(signal)
    with pytest.raises(RecordError) as caught:
        check_quality(signal, 500, LEADS)
    assert caught.value.kind == kind
    assert "V2" in str(caught.value)


def test_amplitude_counts_only_in_millivolts(heartbeat) -> None:
    signal = heartbeat() * 200
    check_quality(signal, 500, LEADS, calibrated=False)
    with pytest.raises(RecordError, match="amplitude"):
        check_quality(signal, 500, LEADS)


def test_equal_derived_leads_are_no_defect(heartbeat) -> None:
    signal = heartbeat()
    signal[1] = signal[0] * 0.5
    signal[2:6] = signal[1] - signal[0], -0.75 * signal[0], 0.75 * signal[0], signal[1] - signal[0]
    signal[5] = signal[2]
    check_quality(signal, 500, LEADS)


def test_limits_are_thresholds(heartbeat) -> None:
    with pytest.raises(RecordError, match="amplitude"):
        check_quality(heartbeat(), 500, LEADS, limits=QualityLimits(max_range=0.1))
    with pytest.raises(ValueError, match="pop=0: must be greater than 0"):
        QualityLimits(pop=0)


def test_empty_signal(heartbeat) -> None:
    with pytest.raises(RecordError, match="no samples"):
        check_quality(np.zeros((12, 0)), 500, LEADS)


def test_agrees_with_cardiologists(ecg_data) -> None:
    verdicts = pd.read_csv(ecg_data / "cinc2011" / "quality.csv", dtype=str).set_index("record")["quality"]
    caught = {}
    for verdict in ("acceptable", "unacceptable"):
        records = verdicts.index[verdicts == verdict][:60]
        caught[verdict] = np.mean([_is_rejected(ecg_data / "cinc2011" / name) for name in records])
    assert caught["unacceptable"] > 0.7
    assert caught["acceptable"] < 0.15


def test_accepts_curated_recordings(ecg_data) -> None:
    paths = [
        *sorted((ecg_data / "ludb" / "data").glob("*.hea"))[:40],
        *sorted((ecg_data / "cpsc2018").glob("*.hea"))[:40],
    ]
    assert sum(_is_rejected(path) for path in paths) <= 2


def _is_rejected(path) -> bool:
    record = read_wfdb(path)
    try:
        check_quality(record.signal[:, :5000], record.sampling_rate, record.leads, record.calibrated)
    except RecordError:
        return True
    return False


def test_limb_leads_that_contradict_each_other_are_found(heartbeat) -> None:
    signal = heartbeat()
    assert limb_lead_residual(Record(np.rint(signal / 0.005) * 0.005, 500, LEADS)) < 0.1
    swapped, doubled, inverted = signal.copy(), signal.copy(), signal.copy()
    swapped[0] *= -1
    doubled[4] *= 2
    inverted[1] *= -1
    for broken in (swapped, doubled, inverted):
        record = Record(broken, 500, LEADS)
        assert limb_lead_residual(record) > 0.3
        findings, residual = check_record(record, LEADS)
        assert findings == (
            f"einthoven: a limb lead differs from the others by {residual:.2f} of its standard deviation",
        )
        with pytest.raises(RecordError, match="einthoven"):
            check_record(record, LEADS, QualityLimits(refuse=("einthoven",)))
    assert limb_lead_residual(Record(swapped, 500, LEADS, calibrated=False)) is None
    assert limb_lead_residual(Record(signal[[0, 1, 6]], 500, ("I", "II", "V1"))) is None


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (1, None),
        (1 / 4.88, "gain=4.88 would"),
        (1 / 2e3, "gain=2000 would"),
        (1e3, "over 15 mV in a second"),
        (1e-7, "no known mistake"),
    ],
)
def test_amplitudes_that_cannot_be_believed(heartbeat, factor: float, verdict: str | None) -> None:
    try:
        said = " ".join(check_quality(heartbeat() * factor, 500, LEADS))
    except RecordError as error:
        said = str(error)
    assert verdict in said if verdict else not said
    assert said.startswith(("amplitude", "unusual amplitude")) or not said


def test_records_with_nothing_in_them(heartbeat) -> None:
    signal = heartbeat()
    coarse = np.rint(signal / np.ptp(signal, axis=1, keepdims=True) * 35) / 35
    assert len(np.unique(coarse[0])) < 50
    with pytest.raises(RecordError, match="resolution: the median lead has"):
        check_quality(coarse, 500, LEADS, limits=QualityLimits(saturated=0.9))
    check_quality(np.rint(signal / 0.005) * 0.005, 500, LEADS)
    assert any("resolution" in text for text in check_quality(coarse, 500, LEADS, limits=QualityLimits(refuse=())))


def test_no_curated_recording_is_coarse_or_contradicts_itself(ecg_data) -> None:
    for path in sorted((ecg_data / "cpsc2018").glob("*.hea"))[:40]:
        record = read_wfdb(path)
        assert not record.findings  # the header's checksums are right
        assert limb_lead_residual(record) < 0.05
