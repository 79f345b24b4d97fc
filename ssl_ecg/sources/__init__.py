"""Data sets that are known, one file each, which registers itself."""

from importlib import import_module
from pkgutil import iter_modules

from ssl_ecg.sources.source import SOURCES, Entry, MissingTableError, Source, SourceError, read_csv, register

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["SOURCES", "Entry", "MissingTableError", "Source", "SourceError", "read_csv", "register"]
