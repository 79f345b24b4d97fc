"""Lead names, derived leads and what a record refuses."""

from __future__ import annotations

import numpy as np
import pytest

from ssl_ecg.records import LEADS, Record, RecordError, also_named, canonical_lead, derive_limb_leads


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("avr", "aVR"),
        ("AVL", "aVL"),
        ("Lead ii", "II"),
        ("v6", "V6"),
        ("ECG I", "I"),
        ("EKG_aVF", "aVF"),
        ("MDC_ECG_LEAD_AVR", "aVR"),
        ("MDC_ECG_LEAD_V1", "V1"),
        ("DI", "I"),
        ("diii", "III"),
        ("V-1", "V1"),
        ("I [mV]", "I"),
        ("Lead I (Einthoven)", "I"),
        ("II\0", "II"),
        ("ECG Lead V4", "V4"),
        ("a-VL", "aVL"),
    ],
)
def test_lead_names_in_any_case(name: str, canonical: str) -> None:
    assert canonical_lead(name) == canonical


@pytest.mark.parametrize(
    "name", ["V7", "MLII", "", "LEAD", "D", "-aVR", "Lead -aVR", "IV", "V1R", "I" * 100, "I of Mustermann", "V1/V2"]
)
def test_other_leads_are_unknown(name: str) -> None:
    with pytest.raises(RecordError, match="is none of I, II"):
        canonical_lead(name)


def test_further_names_are_known_while_somebody_says_so() -> None:
    with also_named({"MLII": "lead ii"}):
        assert canonical_lead("mlii ") == "II"
    with pytest.raises(RecordError):
        canonical_lead("MLII")


def test_a_record_does_not_quote_its_file() -> None:
    with pytest.raises(RecordError, match=r"^unknown lead: signal 2 is none of I"):
        Record(np.zeros((2, 5)), 500, ("I", "Mustermann"))


def test_derived_leads_are_those_that_were_recorded(heartbeat) -> None:
    signal = heartbeat()
    eight = [LEADS.index(lead) for lead in ("II", "I", "V1", "V2", "V3", "V4", "V5", "V6")]
    record = Record(signal[eight], 500, tuple(LEADS[i] for i in eight))
    np.testing.assert_allclose(record.select(LEADS), signal, atol=1e-6)


def test_derivation_needs_both_leads_and_one_unit(heartbeat) -> None:
    signal = heartbeat()
    with pytest.raises(RecordError, match="II needed"):
        derive_limb_leads(signal[:1], ("I",))
    uncalibrated = Record(signal[:2], 500, ("I", "II"), calibrated=False)
    with pytest.raises(RecordError, match="III wanted, record has I, II"):
        uncalibrated.select(("I", "III"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"leads": ("I",)}, r"1 names for a signal of shape \(2, 500\)"),
        ({"leads": ("I", "i")}, "duplicate lead"),
        ({"sampling_rate": 0}, "must be positive, got 0"),
        ({"sex": "M"}, "must be 'female', 'male' or None"),
    ],
)
def test_record_refuses_what_does_not_fit(wrong: dict[str, object], message: str) -> None:
    values = {"signal": np.zeros((2, 500)), "sampling_rate": 500, "leads": ("I", "II"), **wrong}
    with pytest.raises(RecordError, match=message):
        Record(**values)  # type: ignore[arg-type]
