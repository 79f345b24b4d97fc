"""The verbs that make archives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_ecg.archive import Archive, open_archive

if TYPE_CHECKING:
    from ssl_ecg.archive.ingest import IngestReport


def ingest(
    source: str | Path, archive: str | Path, *, quality: Mapping[str, Any] | None = None, **settings: Any
) -> IngestReport:
    """Turn every ECG below a folder into one archive.

    Args:
        source: folder of WFDB records, at any depth; folders in PTB-XL's layout bring patients and labels along.
        archive: folder to write, to continue or to add to.
        quality: limits of the quality check, see ``ssl_ecg.records.QualityLimits``.
        settings: fields of ``ssl_ecg.signals.SignalSettings`` (leads, sampling_rate, duration, band, ...), and
            ``workers``, ``salt`` and ``progress`` of ``ssl_ecg.archive.ingest.ingest``.

    Returns:
        What was accepted and rejected, and why.
    """
    from ssl_ecg.archive.ingest import ingest as run
    from ssl_ecg.records import QualityLimits
    from ssl_ecg.signals import SignalSettings

    run_options = {name: settings.pop(name) for name in ("workers", "salt", "progress") if name in settings}
    return run(source, archive, SignalSettings(**settings), QualityLimits(**(quality or {})), **run_options)


def synthesize(folder: str | Path, records: int = 2000, seed: int = 0, **settings: Any) -> Archive:
    """Write the embedded synthetic archive: ECGs with known structure, labels and outcomes.

    Args:
        folder: archive to write.
        records: how many ECGs.
        seed: the same seed gives the same bytes.
        settings: further arguments of ``ssl_ecg.synthetic.synthesize``.
    """
    from ssl_ecg.synthetic import synthesize as run

    return open_archive(run(folder, records=records, seed=seed, **settings))
