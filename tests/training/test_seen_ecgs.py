"""The same ECG under another name, in another archive of the site, does not test what learned from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssl_ecg import load_encoder
from ssl_ecg.archive import Archive, ArchiveWriter
from ssl_ecg.archive.hashes import ecgs_of, patients_of
from ssl_ecg.backbones import Encoder, save_encoder, strip_patients
from ssl_ecg.backbones.joined import joined_encoder
from ssl_ecg.comparison import check_unseen, recognised

OPTIONS = {"width": 4}


@pytest.fixture
def renamed(tiny_archive: Archive, tmp_path: Path) -> Archive:
    """Six ECGs of the archive under other names, each of another patient, and one that it has not."""
    stored = tiny_archive.stored(np.array([*range(6), 9])).signal
    signals = np.concatenate([stored[:6], -stored[6:]])
    manifest = tiny_archive.manifest.iloc[[*range(6), 9]].drop(columns=["part", "row", "content"])
    names = [f"copy{number}" for number in range(7)]
    writer = ArchiveWriter(tmp_path / "renamed", tiny_archive.settings)
    writer.write_part(signals, manifest.assign(record_id=names, patient_id=names))
    return writer.finish()


def test_copies_are_recognised_and_refused(tiny_archive: Archive, renamed: Archive, tmp_path: Path) -> None:
    encoder = Encoder("xresnet1d10", OPTIONS, tiny_archive.settings)
    encoder.patients = patients_of(tiny_archive, np.arange(4))
    encoder.ecgs = frozenset(ecgs_of(tiny_archive, np.arange(4)))
    encoder = load_encoder(save_encoder(encoder, tmp_path / "encoder", "card"))
    rows = np.arange(7)
    assert recognised(encoder, renamed, rows).tolist() == [True] * 4 + [False] * 3
    with pytest.raises(ValueError, match="4 of 7 test patients are among those the encoder learned from"):
        check_unseen(encoder, renamed, rows)
    check_unseen(encoder, renamed, rows[4:])
    other = Encoder("xresnet1d10", OPTIONS, tiny_archive.settings, ecgs=frozenset(ecgs_of(tiny_archive, np.array([5]))))
    assert recognised(joined_encoder([encoder, other]), renamed, rows).tolist() == [True] * 4 + [False, True, False]
    strip_patients(tmp_path / "encoder")
    assert not load_encoder(tmp_path / "encoder").ecgs


def test_archive_that_knows_no_contents_has_no_copies(tiny_archive: Archive, renamed: Archive) -> None:
    in_memory = replace(renamed, manifest=renamed.manifest.drop(columns="content"))
    assert ecgs_of(in_memory, np.arange(7)) == []
    encoder = Encoder("xresnet1d10", OPTIONS, tiny_archive.settings, ecgs=frozenset(ecgs_of(renamed, np.arange(7))))
    assert recognised(encoder, renamed, np.arange(7)).all()
    assert not recognised(encoder, in_memory, np.arange(7)).any()


def test_folder_of_an_encoder_that_knows_no_ecgs_is_read(tiny_archive: Archive, tmp_path: Path) -> None:
    folder = save_encoder(Encoder("xresnet1d10", OPTIONS, tiny_archive.settings), tmp_path / "encoder", "card")
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"ecgs": []', '"more": []'))
    assert load_encoder(folder).ecgs == frozenset()
    config.write_text(config.read_text().replace('"more": []', '"ecgs": [3]'))
    with pytest.raises(ValueError, match="damaged encoder config: ecgs holds what is no text"):
        load_encoder(folder)
