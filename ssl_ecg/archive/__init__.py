"""Many ECGs: ingest, the memory-mapped archive, label tables, splits by patient, PTB-XL, the synthetic archive."""

from ssl_ecg.archive.archive import Archive, ArchiveError, open_archive
from ssl_ecg.archive.writer import ArchiveWriter

__all__ = ["Archive", "ArchiveError", "ArchiveWriter", "open_archive"]
