"""One ECG: the record, lead names, derived leads, a reader per format, quality checks."""

from ssl_ecg.records.formats import READERS, read_record
from ssl_ecg.records.quality import QualityLimits, check_quality
from ssl_ecg.records.record import LEADS, Record, RecordError, canonical_lead, derive_limb_leads
from ssl_ecg.records.wfdb import read_wfdb

__all__ = [
    "LEADS",
    "READERS",
    "QualityLimits",
    "Record",
    "RecordError",
    "canonical_lead",
    "check_quality",
    "derive_limb_leads",
    "read_record",
    "read_wfdb",
]
