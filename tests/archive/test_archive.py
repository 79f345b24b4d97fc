"""What an archive gives back, and what it refuses to open."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssl_ecg.archive import ArchiveError, ArchiveWriter, open_archive
from ssl_ecg.archive.writer import quantise
from ssl_ecg.runs import sha256
from ssl_ecg.signals import SignalSettings

SETTINGS = SignalSettings(leads=("I", "II"), duration=1.0, min_duration=1.0, normalise="none")


def manifest(start: int, count: int) -> pd.DataFrame:
    ids = range(start, start + count)
    return pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in ids],
            "patient_id": [f"p{i // 2}" for i in ids],
            "source": "test",
            "age": [None if i % 2 else 50.0 + i for i in ids],
            "sex": ["female" if i % 2 else None for i in ids],
            "recorded_at": pd.NaT,
            "original_rate": 100.0,
            "original_duration": 1.0,
            "calibrated": True,
        }
    )


def draw(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 2, 100)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive of three parts, of 4, 0 and 3 records."""
    writer = ArchiveWriter(tmp_path / "archive", SETTINGS)
    writer.write_part(draw(7)[:4], manifest(0, 4), [("bad.hea", "flat lead: I")])
    writer.write_part(draw(0), manifest(0, 0), [("worse.hea", "unreadable")])
    writer.write_part(draw(7)[4:], manifest(4, 3))
    writer.finish()
    return tmp_path / "archive"


@given(arrays(np.float32, (2, 3, 20), elements=st.floats(-32.75, 32.75, width=32)))
def test_quantisation_errs_by_half_a_microvolt_at_most(signal: np.ndarray) -> None:
    integers = quantise(signal)
    assert integers.dtype == np.dtype("<i2")
    # Half a microvolt, and the rounding of float32 at 32 mV.
    assert np.abs(integers.astype(np.float64) / 1000 - signal).max() <= 0.0005 + 4e-6


@pytest.mark.parametrize("value", [33.0, -33.0, np.nan, np.inf])
def test_quantisation_refuses_what_16_bits_do_not_hold(value: float) -> None:
    with pytest.raises(ValueError, match=r"an archive holds up to 32\.767 mV"):
        quantise(np.array([0.0, value]))


def test_of_some_leads_it_reads_these_alone_in_their_order(folder: Path) -> None:
    whole = open_archive(folder)
    turned, one = whole.of_leads(("II", "I")), whole.of_leads(["II"])
    np.testing.assert_array_equal(turned.read([3, 6]).signal, whole.read([3, 6]).signal[:, ::-1])
    np.testing.assert_array_equal(one.read([5]).signal, whole.read([5]).signal[:, [1]])
    np.testing.assert_array_equal(turned.of_leads(["I"])[4]["signal"], whole[4]["signal"][[0]])
    assert (one.leads, one.read([0]).leads.shape, whole.leads) == (("II",), (1, 1), ("I", "II"))
    assert whole.of_leads(whole.leads) is whole
    assert one.of_leads(("I", "II")) is one  # which whoever needs them refuses


def test_reads_records_in_any_order(folder: Path) -> None:
    archive = open_archive(folder)
    assert len(archive) == 7
    rows = [6, 0, 0, 4, 3]
    np.testing.assert_allclose(archive.read(rows).signal, draw(7)[rows], atol=5.1e-4)
    assert [part.shape for part in archive.read([])] == [(0, 2, 100), (0,), (0, 2)]
    record = archive[-1]
    assert (record["record_id"], record["patient_id"]) == ("r6", "p3")
    assert record["signal"].dtype == np.float32
    np.testing.assert_array_equal(record["signal"], archive.read([6]).signal[0])
    assert archive.patient.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert (archive.leads, archive.sampling_rate, archive.samples) == (("I", "II"), 100, 100)
    assert archive.manifest["age"].notna().sum() == 4
    assert archive.manifest["sex"].isna().sum() == 4
    assert list(archive.rejected["path"]) == ["bad.hea", "worse.hea"]
    archive.verify()


@pytest.mark.parametrize("how", ["lead", "record", "none"])
def test_reads_millivolts_whatever_networks_make_of_them(tmp_path: Path, how: str) -> None:
    writer = ArchiveWriter(tmp_path, SignalSettings(**{**SETTINGS.to_dict(), "normalise": how}))
    writer.write_part(draw(3), manifest(0, 3))
    np.testing.assert_allclose(writer.finish().read([2, 1]).signal, draw(3)[[2, 1]], atol=5.1e-4)


def test_reads_what_was_recorded_with_the_signal(tmp_path: Path) -> None:
    """A flat end or lead holds 0 like what was not recorded; the manifest tells them apart."""
    signal = draw(4)
    signal[:2, :, 60:] = 0
    signal[2:, 1] = 0
    writer = ArchiveWriter(tmp_path, SETTINGS)
    table = manifest(0, 4).assign(recorded=[60, 100, 100, 100], leads=["I II", "I II", "I", "II I"])
    archive = (writer.write_part(signal, table), writer.finish())[1]
    read = archive.read([3, 0, 1, 2, 0])
    np.testing.assert_allclose(read.signal, signal[[3, 0, 1, 2, 0]], atol=5.1e-4)
    assert read.recorded.tolist() == [100, 60, 100, 100, 60]
    assert (read.recorded.dtype, read.leads.dtype) == (np.int64, np.bool_)
    assert read.leads.tolist() == [[True, True], [True, True], [True, True], [True, False], [True, True]]
    assert (archive[0]["recorded"], archive[2]["leads"]) == (60, "I")


def forge(folder: Path, table: pd.DataFrame | None = None, **changes: object) -> None:
    """Change an archive as somebody would who knows the format: the checksum of the manifest fits."""
    if table is not None:
        table.to_parquet(folder / "manifest.parquet", index=False)
        changes["manifest_sha256"] = sha256(folder / "manifest.parquet")
    info = json.loads((folder / "archive.json").read_text())
    (folder / "archive.json").write_text(json.dumps({**info, **changes}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"recorded": 0}, "recorded=0 of 100 samples"),
        ({"recorded": 101}, "recorded=101 of 100 samples"),
        ({"leads": "I V1"}, "leads='I V1' of I II"),
        ({"leads": ""}, "leads='' of I II"),
        ({"recorded": None}, "lacks recorded"),
        ({"leads": None}, "lacks leads"),
    ],
)
def test_a_manifest_that_says_the_impossible_is_refused(folder: Path, wrong: dict[str, object], message: str) -> None:
    name, value = next(iter(wrong.items()))
    table = pd.read_parquet(folder / "manifest.parquet")
    if value is None:
        table = table.drop(columns=name)
    else:
        table.loc[5, name] = value
    forge(folder, table)
    with pytest.raises(ArchiveError, match=message):
        open_archive(folder)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("row", [0, 1, 2, 3, 0, 0, 0], "two records share a row"),
        ("row", [0, 1, 2, 3, 0, 1, 3], "row 3 is beyond its part"),
        ("row", [0, 1, 2, 3, 0, 1, -5], "row -5 is beyond its part"),
        ("row", [0, 1, 2, 3, 0, 1, 2.5], "column row holds no integer but float64"),
        ("row", [0, 1, 2, 3, 0, 1, None], "column row has blanks"),
        ("row", list("0123012"), "column row holds no integer"),
        ("row", [True] * 7, "column row holds no integer"),
        ("part", [0, 0, 0, 0, 2, 2, -2], "names part -2"),
        ("part", [0, 0, 0, 0, 2, 2, 0], "has 5 rows for signals/00000.i16, not 4"),
        ("part", [0, 0, 0, 0, 2, 2, 2**40], "names part 1099511627776"),
        ("part", [0, 0, 0, 0, 2, 2, 2.5], "column part holds no integer"),
        ("recorded", [99.5] * 7, "column recorded holds no integer"),
        ("record_id", ["a"] * 7, "record 'a' stands there twice"),
        ("record_id", list(range(7)), "column record_id holds no string"),
        ("record_id", [None, *"abcdef"], "column record_id has blanks"),
        ("patient_id", [None, *"abcdef"], "column patient_id has blanks"),
        ("patient_known", [1.5] * 7, "column patient_known holds no boolean"),
        ("leads", [["I"]] * 7, "column leads holds no string"),
        ("age", list("abcdefg"), "column age holds no number"),
        ("sex", [1.0] * 7, "column sex holds no string"),
        ("recorded_at", ["yesterday"] * 7, "column recorded_at holds no time"),
    ],
)
def test_forged_manifests_are_refused(folder: Path, name: str, values: list[object], message: str) -> None:
    forge(folder, pd.read_parquet(folder / "manifest.parquet").assign(**{name: values}))
    with pytest.raises(ArchiveError, match=message):
        open_archive(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"microvolts_per_bit": float("nan")}, "microvolts_per_bit=nan is no voltage"),
        ({"microvolts_per_bit": float("inf")}, "microvolts_per_bit=inf is no voltage"),
        ({"microvolts_per_bit": 0}, "microvolts_per_bit=0 is no voltage"),
        ({"microvolts_per_bit": -1}, "microvolts_per_bit=-1 is no voltage"),
        ({"microvolts_per_bit": "1"}, "microvolts_per_bit='1' is no voltage"),
        ({"microvolts_per_bit": True}, "microvolts_per_bit=True is no voltage"),
        ({"manifest_sha256": 3}, "manifest_sha256 is no text"),
        ({"appended": "ab"}, "appended is no list of texts"),
        ({"manifest_sha256": "0" * 64}, "manifest.parquet is damaged: SHA-256"),
        ({"settings": "abc"}, "archive.json is damaged"),
        ({"settings": {"duration": 1e300}}, "is damaged"),
        ({"parts": {}}, "has 4 rows|is damaged"),
        ({"parts": [3]}, "is damaged"),
        ({"parts": "abc"}, "is damaged"),
    ],
)
def test_forged_heads_are_refused(folder: Path, change: dict[str, object], message: str) -> None:
    forge(folder, **change)
    with pytest.raises(ArchiveError, match=message):
        open_archive(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": "../../x"}, "part 1 is called '../../x'"),
        ({"number": 7}, "part 1 is called 7"),
        ({"number": 1.0}, "part 1 is called 1.0"),
        ({"number": True}, "part 1 is called True"),
        ({"records": -3}, "part 1 has records=-3"),
        ({"records": 0.5}, "part 1 has records=0.5"),
        ({"records": None}, "part 1 has records=None"),
        ({"sha256": "x"}, "part 1 has no SHA-256"),
        ({"path": "/etc/passwd"}, "path"),
    ],
)
def test_forged_parts_are_refused(folder: Path, change: dict[str, object], message: str) -> None:
    parts = json.loads((folder / "archive.json").read_text())["parts"]
    parts[1] |= change
    forge(folder, parts=parts)
    with pytest.raises(ArchiveError, match=message):
        open_archive(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format":' * 100_000, "null", "[]", "3", "\xff", ""])
def test_archive_json_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "archive.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ArchiveError, match=r"archive\.json is damaged"):
        open_archive(folder)


def test_damaged_table_of_rejections_is_named(folder: Path) -> None:
    for content in (b"", b"a,b\n1,2\n", b"\xff\xfe\x00"):
        (folder / "rejected.csv").write_bytes(content)
        with pytest.raises(ArchiveError, match=r"rejected\.csv is damaged"):
            open_archive(folder).rejected  # noqa: B018


@pytest.mark.parametrize("name", ["00000.json", "00000.parquet"])
def test_damaged_journal_is_named(tmp_path: Path, name: str) -> None:
    ArchiveWriter(tmp_path, SETTINGS).write_part(draw(2), manifest(0, 2))
    (tmp_path / "journal" / name).write_bytes(b"{}")
    with pytest.raises(ArchiveError, match=r"remove .* and ingest again"):
        ArchiveWriter(tmp_path, SETTINGS)


def test_rows_by_record_id(folder: Path) -> None:
    archive = open_archive(folder)
    assert archive.rows(["r5", "r0"]).tolist() == [5, 0]
    assert archive.find(["r5", "who"]).tolist() == [5, -1]
    with pytest.raises(ArchiveError, match=r"2 record ids are not in .*: who, what"):
        archive.rows(["r0", "who", "what"])
    for rows in ([7], [-1]):
        with pytest.raises(IndexError, match=r"0\.\.6"):
            archive.read(rows)
    with pytest.raises(IndexError, match="record 7 of an archive of 7"):
        archive[7]


def test_can_be_sent_to_workers(folder: Path) -> None:
    archive = open_archive(folder)
    archive.read([0])
    sent = pickle.dumps(archive)
    assert len(sent) < 10_000
    for part, same in zip(pickle.loads(sent).read(range(7)), archive.read(range(7)), strict=True):
        np.testing.assert_array_equal(part, same)


def test_grows_and_keeps_what_was_there(folder: Path) -> None:
    writer = ArchiveWriter(folder, SETTINGS)
    writer.write_part(draw(2, seed=1), manifest(7, 2), [("bad.hea", "truncated signal")])
    assert len(open_archive(folder)) == 7
    archive = writer.finish()
    assert len(archive) == 9
    np.testing.assert_allclose(archive.read(range(9)).signal, np.concatenate([draw(7), draw(2, seed=1)]), atol=5.1e-4)
    assert archive.rejected.values.tolist() == [["bad.hea", "truncated signal"], ["worse.hea", "unreadable"]]
    archive.verify()


def test_interrupted_growth_leaves_the_old_archive_and_continues(folder: Path) -> None:
    writer = ArchiveWriter(folder, SETTINGS)
    writer.write_part(draw(2, seed=1), manifest(7, 2))
    # As if killed after the new rows were written and before archive.json names them.
    shutil.copy(folder / "journal" / "00003.parquet", folder / "manifest.00001.parquet")
    assert len(open_archive(folder)) == 7
    archive = ArchiveWriter(folder, SETTINGS).finish()
    assert len(archive) == 9
    assert archive.manifest["record_id"].is_unique
    archive.verify()


def test_growth_leaves_what_is_there_untouched_and_is_checked_as_well(folder: Path) -> None:
    there = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".parquet", ".i16")}
    for number in (3, 4):
        writer = ArchiveWriter(folder, SETTINGS)
        writer.write_part(draw(1, seed=number), manifest(4 + number, 1))
        archive = writer.finish()
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert archive.manifest["part"].tolist()[-2:] == [3, 4]
    assert archive.manifest["record_id"].tolist() == manifest(0, 9)["record_id"].tolist()
    archive.verify()
    pd.testing.assert_frame_equal(open_archive(folder).manifest, archive.manifest)
    (folder / "manifest.00002.parquet").write_bytes((folder / "manifest.00001.parquet").read_bytes())
    with pytest.raises(ArchiveError, match=r"manifest\.00002\.parquet is damaged: SHA-256"):
        open_archive(folder)
    (folder / "manifest.00001.parquet").unlink()
    with pytest.raises(ArchiveError, match=r"manifest\.00001\.parquet cannot be read"):
        open_archive(folder)


def test_refuses_other_settings_naming_both(folder: Path) -> None:
    with pytest.raises(ArchiveError, match=r"other settings: settings\.normalise: 'none' there, 'lead' now"):
        ArchiveWriter(folder, SignalSettings(**{**SETTINGS.to_dict(), "normalise": "lead"}))
    with pytest.raises(ArchiveError, match=r"quality: None there, {'pop': 3} now; use the same or"):
        ArchiveWriter(folder, SETTINGS, origin={"quality": {"pop": 3}})
    with pytest.raises(FileExistsError, match="already holds an archive"):
        ArchiveWriter(folder, SETTINGS, resume=False)


def test_writer_refuses_what_does_not_fit(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match=r"shape \(2, 2, 100\).*got \(3, 2, 100\)"):
        writer.write_part(draw(3), manifest(0, 2))
    with pytest.raises(ValueError, match="lacks the columns age, sex"):
        writer.write_part(draw(2), manifest(0, 2).drop(columns=["age", "sex"]))
    with pytest.raises(ValueError, match="1 record ids are there already: r0"):
        writer.write_part(draw(2), pd.concat([manifest(0, 1)] * 2))
    writer.write_part(draw(2), manifest(0, 2))
    with pytest.raises(ValueError, match="2 record ids are there already: r0, r1"):
        writer.write_part(draw(2), manifest(0, 2))


def test_no_record_at_all_is_an_error_that_keeps_the_reasons(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path, SETTINGS)
    writer.write_part(draw(0), manifest(0, 0), [("a.hea", "flat lead: I")])
    with pytest.raises(ArchiveError, match=r"no record, see rejected\.csv"):
        writer.finish()
    assert "flat lead: I" in (tmp_path / "rejected.csv").read_text()
    with pytest.raises(FileNotFoundError, match="no archive"):
        open_archive(tmp_path)


def test_missing_and_unfinished_archives_do_not_open(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no archive in .*no archive\.json"):
        open_archive(tmp_path / "nowhere")
    ArchiveWriter(tmp_path, SETTINGS).write_part(draw(2), manifest(0, 2))
    with pytest.raises(ArchiveError, match="unfinished: run the same ingest again"):
        open_archive(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, "format version 1, this release reads version 2"),
        ({"version": 99}, "format version 99, this release reads version 2"),
        ({"format": "something"}, "not an archive of this package"),
        ({"settings": {"rate": 3}}, "rate=3: there is no such setting"),
        ({"parts": None}, "is damaged"),
    ],
)
def test_other_versions_and_formats_are_refused(folder: Path, change: dict[str, object], message: str) -> None:
    forge(folder, **change)
    with pytest.raises(ArchiveError, match=message):
        open_archive(folder)


def test_damage_is_found_and_named(folder: Path) -> None:
    part = folder / "signals" / "00002.i16"
    content = bytearray(part.read_bytes())
    content[5] ^= 1
    part.write_bytes(content)
    archive = open_archive(folder)
    with pytest.raises(ArchiveError, match=r"00002\.i16 is damaged: SHA-256"):
        archive.verify()
    part.write_bytes(content[:-2])
    with pytest.raises(ArchiveError, match=r"00002\.i16 is damaged: 1198 bytes, expected 1200"):
        open_archive(folder)
    part.unlink()
    with pytest.raises(ArchiveError, match=r"00002\.i16 is damaged: 0 bytes"):
        open_archive(folder)


@pytest.mark.parametrize(("name", "content"), [("archive.json", b"{"), ("manifest.parquet", b"PAR1")])
def test_damaged_tables_are_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ArchiveError, match="damaged"):
        open_archive(folder)


def test_full_disk_keeps_committed_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ArchiveWriter(tmp_path, SETTINGS)
    writer.write_part(draw(7)[:4], manifest(0, 4))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            OSError, match=r"No space left on device: .*the 1 parts committed so far are safe"
        ) as caught:
            writer.write_part(draw(7)[4:], manifest(4, 3))
        assert caught.value.errno == errno.ENOSPC
        assert not list(tmp_path.rglob("*.tmp"))
        with pytest.raises(OSError, match="No space left"):
            writer.finish()
    again = ArchiveWriter(tmp_path, SETTINGS)
    assert [record_id for record_id, _ in again.known.rows()] == ["r0", "r1", "r2", "r3"]
    again.write_part(draw(7)[4:], manifest(4, 3))
    np.testing.assert_allclose(again.finish().read(range(7)).signal, draw(7), atol=5.1e-4)
