"""One ECG: the record, lead names, derived leads, a reader per format, quality checks."""

from ssl_ecg.records.record import LEADS, Record, RecordError, canonical_lead, derive_limb_leads

__all__ = ["LEADS", "Record", "RecordError", "canonical_lead", "derive_limb_leads"]
