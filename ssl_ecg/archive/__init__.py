"""Many ECGs in one folder: ingest, the memory-mapped archive and its writer."""

from ssl_ecg.archive.archive import Archive, open_archive
from ssl_ecg.archive.head import ArchiveError
from ssl_ecg.archive.ingest import IngestReport, ingest
from ssl_ecg.archive.merging import merge
from ssl_ecg.archive.writer import ArchiveWriter

__all__ = ["Archive", "ArchiveError", "ArchiveWriter", "IngestReport", "ingest", "merge", "open_archive"]
