"""Labels from measurements of the ejection fraction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ssl_ecg
from ssl_ecg.archive import Archive, ArchiveWriter, ingest
from ssl_ecg.cli import main
from ssl_ecg.labels import lvef_labels, read_labels
from ssl_ecg.signals import SignalSettings

DAY = pd.Timestamp("2020-01-01 15:00")


def archive_of(folder: Path, patients: list[str], days: list[float]) -> Archive:
    """An archive of a record for each patient and day (NaN: not known) named."""
    settings = SignalSettings(leads=("I",), duration=1, min_duration=1)
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(len(patients))],
            "patient_id": patients,
            "source": "clinic",
            "age": 50.0,
            "sex": "male",
            "recorded_at": [DAY + pd.Timedelta(days=day) if day == day else pd.NaT for day in days],
            "original_rate": 100.0,
            "original_duration": 1.0,
            "calibrated": True,
        }
    )
    writer = ArchiveWriter(folder, settings)
    writer.write_part(np.zeros((len(patients), 1, 100), np.float32), table, [])
    return writer.finish()


def measured(*rows: tuple[object, object, object]) -> pd.DataFrame:
    """Measurements of patient, days after the first of January 2020, and percent."""
    dates = [(DAY.normalize() + pd.Timedelta(days=day)).date().isoformat() for _, day, _ in rows]
    return pd.DataFrame({"patient_id": [p for p, _, _ in rows], "measured_at": dates, "lvef": [v for *_, v in rows]})


def counted(counts: pd.DataFrame, of: str) -> dict[str, int]:
    part = counts[(counts["of"] == of) & (counts["count"] > 0)]
    return dict(zip(part["what"], part["count"]))


def test_the_first_measurement_from_the_day_of_the_ecg_to_the_end_of_the_window_is_the_label(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a", ["a", "b", "c", "d", "e", "f", "g", "a"], [0, 0, 0, 0, 0, np.nan, 0, -100])
    table = measured(
        *[("a", -1, 20), ("a", 0, 55), ("a", 10, 30)],  # the day before does not count, the same day does
        *[("b", 183, 40), ("b", 20, 60), ("b", 20, 40)],  # the lowest of a day
        ("c", 183, 41),
        ("d", 184, 10),
        ("e", -3, 10),
        ("f", 3, 10),
    )
    labels, counts = lvef_labels(archive, table)
    assert labels.to_dict("list") == {
        "record_id": ["r0", "r1", "r2", "r7"],
        "low_lvef": [0, 1, 0, 1],
        "lvef": [55, 40, 41, 20],
        "days_to_measurement": [0, 20, 183, 99],
        "time_days": [10, 20, 183, 99],  # to the first low one, or to the last of all
        "event": [1, 1, 0, 1],
        "prevalent": [1, 0, 0, 0],
    }
    assert counted(counts, "records") == {
        "in the archive": 8,
        "no recording date": 1,
        "no measurement of the patient": 1,
        "measurements only before the ECG": 1,
        "first measurement more than 183 days after the ECG": 1,
        "labelled": 4,
        "with a low ejection fraction": 2,
    }
    assert counted(counts, "measurements") == {"in the table": 10, "usable": 10}


def test_every_record_is_labelled_as_a_search_through_the_table_labels_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    patients, days = [f"p{i}" for i in rng.integers(0, 40, 120)], rng.integers(0, 800, 120).astype(float)
    days[::17] = np.nan
    archive = archive_of(tmp_path / "a", patients, days.tolist())
    table = measured(*[(f"p{p}", int(d), int(v)) for p, d, v in rng.integers((0, 0, 10), (50, 900, 70), (90, 3))])
    labels, counts = lvef_labels(archive, table, threshold=35, window_days=90)
    expected = {}
    for record, patient, day in zip(archive.manifest["record_id"], patients, days):
        own = table[table["patient_id"] == patient]
        after = [
            ((pd.Timestamp(at) - DAY.normalize()).days - day, value)
            for at, value in zip(own["measured_at"], own["lvef"])
        ]
        if there := sorted(pair for pair in after if 0 <= pair[0] <= 90):
            later = [ahead for ahead, value in after if ahead >= 0 and value <= 35]
            before = [ahead for ahead, value in after if ahead < 0 and value <= 35]
            follow_up = (min(later) if later else max(after)[0], int(bool(later)), int(bool(before)))
            expected[record] = (int(there[0][1] <= 35), *there[0][::-1], *follow_up)
    assert len(expected) > 10
    assert {row[0]: row[1:] for row in labels.itertuples(index=False, name=None)} == expected
    records = counts[counts["of"] == "records"]["count"].tolist()
    assert records[0] == sum(records[1:-1]) == 120


def test_measurements_that_cannot_be_used_are_counted_by_reason(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a", ["a", "b"], [0, 0])
    table = measured(
        ("a", 1, 30), ("a", 0, 130), ("a", 0, 0), ("a", 0, None), ("x", 0, 20), (None, 0, 20), ("b", 0, 60)
    )
    table.loc[len(table)] = ["a", None, 20]
    labels, counts = lvef_labels(archive, table)
    assert labels["lvef"].tolist() == [30, 60]
    assert counted(counts, "measurements") == {
        "in the table": 8,
        "no patient": 1,
        "no date": 1,
        "no ejection fraction": 1,
        "ejection fraction not between 0 and 100 %": 2,
        "of a patient who is not in the archive": 1,
        "usable": 2,
    }


def test_a_label_table_selects_the_cohort(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a", ["a", "b", "c"], [0, 0, 0])
    beats = pd.DataFrame({"record_id": ["r0", "r1", "r2"], "VEB": [1, 0, None]})
    table = measured(("a", 0, 30), ("b", 0, 30), ("c", 0, 30))
    labels, counts = lvef_labels(archive, table, cohort=beats, cohort_class="VEB")
    assert labels["record_id"].tolist() == ["r0"]
    assert counted(counts, "records")["not in the cohort"] == 2
    with pytest.raises(ValueError, match="cohort_class=None"):
        lvef_labels(archive, table, cohort=beats)


@pytest.mark.parametrize("salt", [None, "pepper and more pepper"])
def test_measurements_find_the_patients_of_an_ingested_archive(
    write_wfdb, heartbeat, tmp_path: Path, salt: str | None
) -> None:
    for name, date in (("0017", "01/02/2020"), ("0018", "03/02/2020")):
        header = write_wfdb(tmp_path / "clinic", name, heartbeat(seed=int(name))).with_suffix(".hea")
        lines = header.read_text().splitlines()
        header.write_text("\n".join([f"{lines[0]} 10:00:00 {date}", *lines[1:]]) + "\n")
    report = ingest(tmp_path / "clinic", tmp_path / "archive", workers=1, salt=salt, progress=False)
    table = tmp_path / "echo.csv"
    table.write_text("name,patient_id,measured_at,lvef\nX,0017,2020-02-10T08:00:00+01:00,35\nY,0018,2020-02-02,20\n")
    labels, _ = lvef_labels(report.archive, table, data_set="clinic", salt=salt)
    (label,) = labels.to_dict("records")
    assert report.archive.rows(["0017"]).tolist() == report.archive.rows([label.pop("record_id")]).tolist()
    follow_up = {"time_days": 9, "event": 1, "prevalent": 0}
    assert label == {"low_lvef": 1, "lvef": 35, "days_to_measurement": 9, **follow_up}
    with pytest.raises(ValueError, match=r"2 of a patient who is not in the archive; .*see data_set.*see salt"):
        lvef_labels(report.archive, table, salt=salt)
    with pytest.raises(ValueError, match=r"salt: the patient ids of .* and this salt makes hmac-sha256"):
        lvef_labels(report.archive, table, data_set="clinic", salt="sugar and more sugar")


@pytest.mark.parametrize("salt", [None, "pepper and more pepper"])
def test_measurements_find_the_patients_of_a_table(write_wfdb, heartbeat, tmp_path: Path, salt: str | None) -> None:
    for seed, name in enumerate(("a", "b", "c")):
        write_wfdb(tmp_path / "clinic", name, heartbeat(seed=seed))
    days = ["2020-02-01", "2020-02-09", "2020-02-01"]
    patients = pd.DataFrame({"record_id": ["a", "b", "c"], "patient_id": ["07", "07", "8"], "recorded_at": days})
    archive = ingest(
        tmp_path / "clinic", tmp_path / "archive", workers=1, salt=salt, progress=False, patients=patients
    ).archive
    measured = pd.DataFrame({"patient_id": ["07"], "measured_at": ["2020-02-10"], "lvef": [35]})
    labels, _ = lvef_labels(archive, measured, data_set="clinic", salt=salt)
    assert archive.rows(labels["record_id"]).tolist() == archive.rows(["a", "b"]).tolist()
    assert labels[["low_lvef", "days_to_measurement"]].to_numpy().tolist() == [[1, 9], [1, 1]]
    if salt is not None:
        assert archive.manifest["recorded_at"].max() < pd.Timestamp("2019-02-09")
        hashed = measured.assign(patient_id=archive.manifest["patient_id"].iloc[0])
        with pytest.raises(ValueError, match=r"the times of .* are shifted: give the salt"):
            lvef_labels(archive, hashed)


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda t: t.drop(columns="lvef"), {}, "has no column lvef; it needs patient_id, measured_at, lvef"),
        (lambda t: t.assign(measured_at="31.03.2021"), {}, r"a date such as 2021-03-31 .*; line 2 does not \(1 such"),
        (lambda t: t.assign(measured_at="2021-02-30"), {}, "line 2 does not"),
        (lambda t: t.assign(lvef="55-60"), {}, r"column 'lvef' of .* a number of percent .*; line 2 does not"),
        (lambda t: t.assign(lvef=0.3), {}, "at most 0.3: give percent"),
        (lambda t: t.iloc[:0], {}, "no usable measurement: it is empty"),
        (lambda t: t.assign(measured_at="2019-01-01"), {}, "none of 1 records .*: 1 measurements only before the ECG"),
        (lambda t: t, {"threshold": 0.4, "window_days": -1}, "window_days=-1: choose 0"),
        (lambda t: t, {"threshold": 0}, "threshold=0: choose a percentage"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, change, settings, message: str) -> None:
    archive = archive_of(tmp_path / "a", ["a"], [0])
    with pytest.raises(ValueError, match=message):
        lvef_labels(archive, change(measured(("a", 0, 30))), **settings)


def test_an_archive_without_dates_cannot_be_labelled(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a", ["a", "b"], [np.nan, np.nan])
    with pytest.raises(ValueError, match="none of 2 records can be labelled: 2 no recording date"):
        lvef_labels(archive, measured(("a", 0, 30)))


def test_synthetic_patients_get_back_their_own_labels(tmp_path: Path) -> None:
    archive = ssl_ecg.synthesize(tmp_path / "archive", records=60, seed=0, duration=5)
    truth = pd.read_csv(archive.folder / "labels" / "low_lvef.csv")
    echo = archive.manifest[["patient_id"]].assign(measured_at=archive.manifest["recorded_at"], lvef=truth["lvef"])
    labels, _ = lvef_labels(archive, echo, window_days=0)
    assert labels["low_lvef"].tolist() == truth["low_lvef"].tolist()
    assert read_labels(labels, archive, ["low_lvef"]).targets.sum() == truth["low_lvef"].sum() > 0


def test_the_command_writes_the_labels_and_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    archive = ssl_ecg.synthesize(tmp_path / "archive", records=60, seed=0, duration=5)
    truth = pd.read_parquet(archive.folder / "truth.parquet")
    echo = truth[["patient_id", "lvef"]].assign(measured_at=truth["recorded_at"])
    echo.to_csv(tmp_path / "echo.csv", index=False)
    conditions, out = archive.folder / "labels" / "conditions.csv", tmp_path / "labels" / "lvef.csv"
    paths = [str(archive.folder), str(tmp_path / "echo.csv"), str(out)]
    selected = [f"cohort={conditions}", "cohort_class=premature_ventricular_contraction"]
    assert main(["label", *paths, "threshold=50", *selected]) == 0
    shown = capsys.readouterr().out
    expected = truth[truth["premature_ventricular_contraction"] == 1]
    labels = pd.read_csv(out)
    assert labels["record_id"].tolist() == expected["record_id"].tolist()
    assert labels["low_lvef"].tolist() == (expected["lvef"] <= 50).astype(int).tolist()
    assert (labels["days_to_measurement"] == 0).all()
    counts = counted(pd.read_csv(tmp_path / "labels" / "lvef_flow.csv"), "records")
    assert counts["not in the cohort"] + counts["labelled"] == counts["in the archive"] == 60
    assert "not in the cohort" in shown
    assert main(["label", *paths[:2], "labels.parquet"]) == 2
    before = Path(paths[1]).read_bytes()
    assert main(["label", *paths[:2], paths[1]]) == 2
    assert Path(paths[1]).read_bytes() == before
    assert "out='labels.parquet': is no CSV file; name a .csv file" in capsys.readouterr().err
