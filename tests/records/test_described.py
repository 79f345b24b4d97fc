"""Arrays that a YAML file describes."""

from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import vendor_files as make

import ssl_ecg
from ssl_ecg.records import LEADS, Record, RecordError, read_records

h5py = pytest.importorskip("h5py")

ARRAY = np.stack(list(make.integers(1000).values())).astype(np.int16)
TRUTH = ARRAY * 0.005
USUAL = {"leads": list(LEADS), "sampling_rate": 500, "unit": "5 uV"}


@pytest.fixture
def read(tmp_path: Path):
    """A function that writes a description and reads what it describes."""

    def records(array: str, **said) -> list[Record]:
        (tmp_path / "all.yaml").write_text(
            json.dumps({"array": array} | {k: v for k, v in (USUAL | said).items() if v})
        )
        return list(read_records(tmp_path / "all.yaml"))

    return records


def save(path: Path, array: np.ndarray, name: str = "signal") -> None:
    """Write an array in the format of the suffix."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **{name: array})
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {name: array}, do_compression=True)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file[name] = array
    elif path.suffix == ".json":
        path.write_text(json.dumps(array.tolist()))
    else:
        np.savetxt(path, array.T, delimiter=",", fmt="%d")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat", ".h5", ".json", ".csv"])
def test_every_format(read, tmp_path: Path, suffix) -> None:
    save(tmp_path / f"a{suffix}", ARRAY)
    [record] = read(f"a{suffix}")
    assert np.allclose(record.signal, TRUTH, atol=1e-6)
    assert (record.leads, record.sampling_rate, record.record_id) == (LEADS, 500, "")
    if suffix not in (".json", ".csv"):  # which say nothing of ECGs by themselves
        [same] = read_records(tmp_path / f"a{suffix}")
        assert (same.signal == record.signal).all()


@pytest.mark.parametrize("turn", [(0, 1, 2), (0, 2, 1)])
def test_axes_are_told_by_their_lengths(read, tmp_path: Path, turn) -> None:
    np.save(tmp_path / "a.npy", np.stack([ARRAY, 2 * ARRAY, 3 * ARRAY]).transpose(turn))
    records = read("a.npy")
    assert [record.record_id for record in records] == ["0", "1", "2"]
    assert np.allclose(records[2].signal, 3 * TRUTH, atol=1e-6)


def test_axes_that_do_not_tell_must_be_said(read, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ARRAY[:, :12])
    with pytest.raises(RecordError, match=r"\(12, 12\) does not tell which axis are the 12 leads; add axes"):
        read("a.npy")
    [record] = read("a.npy", axes=["samples", "leads"])
    assert np.allclose(record.signal, TRUTH[:, :12].T, atol=1e-6)
    np.save(tmp_path / "a.npy", ARRAY.T[:, None])
    [record] = read("a.npy", axes=["samples", "records", "leads"])
    assert np.allclose(record.signal, TRUTH, atol=1e-6)


@pytest.mark.parametrize(
    ("unit", "millivolts"), [("mV", 1.0), ("uV", 1e-3), ("4.88 uV", 0.00488), ("V", 1e3), ("nV", 1e-6)]
)
def test_unit_is_what_the_user_says(read, tmp_path: Path, unit, millivolts) -> None:
    np.save(tmp_path / "a.npy", ARRAY)
    [record] = read("a.npy", unit=unit)
    assert np.allclose(record.signal, ARRAY * millivolts, rtol=1e-6)
    assert record.calibrated
    assert not read("a.npy", unit="none")[0].calibrated


@pytest.mark.parametrize("lacking", ["leads", "sampling_rate", "unit"])
def test_nothing_is_guessed(read, tmp_path: Path, lacking) -> None:
    np.save(tmp_path / "a.npy", ARRAY)
    with pytest.raises(RecordError, match=f"description: {lacking}: is not said; add {lacking}: "):
        read("a.npy", **{lacking: None})


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat", ".h5"])
def test_an_array_without_description_says_what_is_missing(tmp_path: Path, suffix) -> None:
    save(tmp_path / f"a{suffix}", ARRAY)
    with pytest.raises(
        RecordError, match=rf"no description: .* write a.yaml beside it .* array: a\{suffix}, leads: .* unit: "
    ):
        list(read_records(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"leads": ["I", "Q"]}, "leads: Q are none of"),
        ({"unit": "mmHg"}, "unit: is none of"),
        ({"sampling_rate": -1}, "sampling_rate=-1"),
        ({"frequency": 3}, "frequency"),
        ({"array": "../a.npy"}, "outside its folder"),
        ({"array": "/etc/passwd"}, "outside its folder"),
        ({"table": "../p.csv"}, "outside its folder"),
        ({"array": "gone.npy"}, "missing file"),
        ({"table": "gone.csv"}, "missing file: the table"),
        ({"columns": {"name": "x"}, "table": "p.csv"}, "columns: name"),
    ],
)
def test_descriptions_that_cannot_be(read, tmp_path: Path, said, reason) -> None:
    np.save(tmp_path / "a.npy", ARRAY)
    (tmp_path / "p.csv").write_text("row\n0\n")
    with pytest.raises(RecordError, match=reason):
        read(**{"array": "a.npy"} | said)


@pytest.mark.parametrize("text", ["array: [", "- array: 1\narray: 2", "array:\n  - *x", "array: a.npy\n" + "[" * 5000])
def test_files_that_are_no_yaml(tmp_path: Path, text) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(RecordError):
        list(read_records(tmp_path / "a.yaml"))


def test_csv_as_spreadsheets_write_it(read, tmp_path: Path) -> None:
    turned = LEADS[::-1]
    rows = [";".join(["time", *turned])]
    for i in range(1000):
        rows.append(";".join(f"{value:.3f}".replace(".", ",") for value in [i / 500, *TRUTH[::-1, i]]))
    (tmp_path / "a.csv").write_text("\r\n".join(rows), encoding="utf-8-sig")
    with pytest.raises(RecordError, match="no description"):
        list(read_records(tmp_path / "a.csv"))
    [record] = read("a.csv", unit="mV")
    assert np.allclose(record.signal, TRUTH, atol=1e-6)
    (tmp_path / "a.csv").write_text("\r\n".join([*rows, "1;2"]), encoding="utf-16")
    with pytest.raises(RecordError, match="line 1002 is not a row of numbers"):
        read("a.csv", unit="mV")


def test_structures_and_names_of_arrays(read, tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"ECG": {"sex": "Male", "data": TRUTH}, "other": np.eye(3)})
    [record] = read("a.mat", name="ECG/data", unit="mV")
    assert np.allclose(record.signal, TRUTH, atol=1e-6)
    with pytest.raises(RecordError, match="there is no such field; there are sex, data"):
        read("a.mat", name="ECG/signal")
    with pytest.raises(RecordError, match="there are ECG, other"):
        read("a.mat", name="val")


def test_one_description_for_many_files(read, tmp_path: Path) -> None:
    (tmp_path / "mats").mkdir()
    for i in (1, 2):
        scipy.io.savemat(tmp_path / "mats" / f"A{i}.mat", {"val": i * ARRAY})
    (tmp_path / "mats" / "A3.mat").write_bytes((tmp_path / "mats" / "A2.mat").read_bytes()[:1000])
    (tmp_path / "people.csv").write_text("file;PID;Age;Gender\nA1;p1;50;F\nA2;p2;61;M\nA3;p3;1;M\n")
    (tmp_path / "all.yaml").write_text(
        json.dumps(USUAL | {"array": "mats/*.mat", "table": "people.csv", "columns": {"patient_id": "PID"}})
    )
    report = ssl_ecg.ingest(tmp_path, tmp_path / "archive", progress=False, workers=1, min_duration=1)
    manifest = report.archive.manifest
    assert list(manifest["record_id"]) == ["all#mats/A1", "all#mats/A2"]
    assert [p.split("/")[-1] for p in manifest["patient_id"]] == ["p1", "p2"]
    assert (list(manifest["age"]), list(manifest["sex"])) == ([50, 61], ["female", "male"])
    assert list(report.archive.rejected["path"]) == ["all.yaml#mats/A3"]


def code15(folder: Path, compression: str | None = None) -> None:
    tracings = np.zeros((3, 1200, 12), dtype=np.float32)
    tracings[0, 100:1100] = TRUTH.T
    tracings[1, 40:1100] = np.concatenate([TRUTH, TRUTH[:, :60]], axis=1).T
    tracings[2, 100:1100] = np.where(TRUTH.T == 0, 1e-3, TRUTH.T)
    with h5py.File(folder / "exams_part0.hdf5", "w") as file:
        file.create_dataset("tracings", data=tracings, compression=compression)
        file["exam_id"] = np.array([501, 77, 9])
    (folder / "exams.csv").write_text(
        "exam_id,age,is_male,patient_id,trace_file\n9,40,True,100,x\n77,41,False,100,x\n501,42,True,101,x\n8,1,True,1,x\n"
    )


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_code15_layout(tmp_path: Path, compression) -> None:
    code15(tmp_path, compression)
    with pytest.raises(RecordError, match=r"array: exams_part0\.hdf5, unit: .*does not state its unit"):
        list(read_records(tmp_path / "exams_part0.hdf5"))
    (tmp_path / "all.yaml").write_text("array: exams_part*.hdf5\nunit: mV\n")
    records = list(read_records(tmp_path / "all.yaml"))
    assert [record.record_id.split("/")[-1] for record in records] == ["501", "77", "9"]
    assert [(record.patient_id, record.age, record.sex) for record in records] == [
        ("101", 42, "male"),
        ("100", 41, "female"),
        ("100", 40, "male"),
    ]
    assert [record.signal.shape[1] for record in records] == [1000, 1060, 1000]
    assert np.allclose(records[0].signal, TRUTH, atol=1e-6)
    assert records[0].sampling_rate == 400


def test_a_record_without_a_row_costs_the_others_nothing(tmp_path: Path) -> None:
    code15(tmp_path)
    text = (tmp_path / "exams.csv").read_text()
    (tmp_path / "exams.csv").write_text(text.replace("\n77,", "\n78,"))
    (tmp_path / "all.yaml").write_text("array: exams_part0.hdf5\nunit: mV\n")
    records = read_records(tmp_path / "all.yaml")
    assert [next(records).record_id, next(records).record_id] == ["501", "9"]
    with pytest.raises(RecordError, match=r"table: 77: exams\.csv has no row"):
        next(records)


def test_sph_layout(tmp_path: Path) -> None:
    for name in ("A00001", "A00002"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["ecg"] = TRUTH.astype(np.float16)
    (tmp_path / "metadata.csv").write_text(
        "ECG_ID,AHA_Code,Patient_ID,Age,Sex,N,Date\nA00002,22,S2,55,M,5000,2020-03-04\nA00001,1,S1,50,F,5000,2020-03-05\n"
    )
    (tmp_path / "all.yaml").write_text("array: '*.h5'\nunit: mV\n")
    records = list(read_records(tmp_path / "all.yaml"))
    assert [(r.record_id, r.patient_id, r.sex) for r in records] == [
        ("A00001", "S1", "female"),
        ("A00002", "S2", "male"),
    ]
    assert str(records[0].recorded_at)[:10] == "2020-03-05"


def test_a_huge_array_is_never_in_memory(read, tmp_path: Path) -> None:
    huge = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.int16, (400, 12, 20000))  # 192 MB, sparse
    huge[0, :, :1000] = ARRAY
    del huge
    (tmp_path / "all.yaml").write_text(json.dumps({"array": "a.npy"} | USUAL))
    tracemalloc.start()
    assert next(read_records(tmp_path / "all.yaml")).signal.shape[1] <= 1000
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


def test_arrays_that_are_traps(read, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(RecordError, match="unreadable"):
        read("a.npy")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("signal", (10**9, 12, 5000), "i2", chunks=(1, 12, 5000))
    with pytest.raises(RecordError, match="too large"):
        read("b.h5")
    day = np.lib.format.open_memmap(tmp_path / "day.npy", "w+", np.int16, (1, 12, 20_000_000))  # 480 MB, sparse
    del day
    with pytest.raises(RecordError, match=r"too large: .* shape \(1, 12, 20000000\); cut it into hours, or"):
        read("day.npy")
    (tmp_path / "secret").write_bytes(bytes(24000))
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.create_dataset("signal", (12, 1000), "i2", external=[(str(tmp_path / "secret"), 0, 24000)])
    with pytest.raises(RecordError, match="lies in another file"):
        read("c.h5")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["signal"] = h5py.ExternalLink(str(tmp_path / "b.h5"), "signal")
    with pytest.raises(RecordError, match="a link, which is not followed"):
        read("d.h5", name="signal")
    scipy.io.savemat(tmp_path / "e.mat", {"val": np.zeros((12, 1000))})
    content = (tmp_path / "e.mat").read_bytes()
    (tmp_path / "e.mat").write_bytes(content.replace((96000).to_bytes(4, "little"), b"\xff\xff\xff\xef"))
    with pytest.raises(RecordError):
        read("e.mat")


def test_missing_library(tmp_path: Path, monkeypatch) -> None:
    save(tmp_path / "a.h5", ARRAY)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(RecordError, match=r"missing library: HDF5 .*pip install 'ssl-ecg\[vendor\]'"):
        list(read_records(tmp_path / "a.h5"))
