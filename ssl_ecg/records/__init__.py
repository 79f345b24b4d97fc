"""One ECG: the record, lead names, derived leads, quality checks, and one file per reader, which registers itself."""

from importlib import import_module
from pkgutil import iter_modules

from ssl_ecg.records.cleaning import clean, without_ends, without_gaps
from ssl_ecg.records.formats import READERS, Reader, Rejected, read_records, register
from ssl_ecg.records.quality import QualityLimits, check_quality, check_record, limb_lead_residual
from ssl_ecg.records.record import LEADS, Record, RecordError, also_named, canonical_lead, derive_limb_leads
from ssl_ecg.records.wfdb import read_wfdb

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "LEADS",
    "READERS",
    "QualityLimits",
    "Reader",
    "Record",
    "RecordError",
    "Rejected",
    "also_named",
    "canonical_lead",
    "check_quality",
    "check_record",
    "clean",
    "derive_limb_leads",
    "limb_lead_residual",
    "read_records",
    "read_wfdb",
    "register",
    "without_ends",
    "without_gaps",
]
