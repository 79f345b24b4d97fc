"""Many ECGs: ingest, the memory-mapped archive, label tables, splits by patient, PTB-XL, the synthetic archive."""

from ssl_ecg.archive.archive import Archive, ArchiveError, open_archive
from ssl_ecg.archive.columns import read_columns
from ssl_ecg.archive.ingest import IngestReport, ingest
from ssl_ecg.archive.labels import LabelTable, read_labels
from ssl_ecg.archive.lvef import lvef_labels
from ssl_ecg.archive.splits import (
    Splits,
    check_no_leakage,
    last_of_each_patient,
    nested_fractions,
    require_positives,
    split_by_fold,
    split_by_patient,
)
from ssl_ecg.archive.writer import ArchiveWriter

__all__ = [
    "Archive",
    "ArchiveError",
    "ArchiveWriter",
    "IngestReport",
    "LabelTable",
    "Splits",
    "check_no_leakage",
    "ingest",
    "last_of_each_patient",
    "lvef_labels",
    "nested_fractions",
    "open_archive",
    "read_columns",
    "read_labels",
    "require_positives",
    "split_by_fold",
    "split_by_patient",
]
