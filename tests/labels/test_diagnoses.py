"""Labels from tables of diagnoses and contacts, by hand."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import Archive, ArchiveWriter, ingest
from ssl_ecg.cli import main
from ssl_ecg.labels import diagnosis_labels, read_labels, survival_labels
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks.survival_task import COLUMNS

DAY = pd.Timestamp("2020-01-01 15:00")
AF = {"AF": ["I48"]}


def archive_of(folder: Path, visits: list[tuple[str, float]]) -> Archive:
    """An archive of a record for each patient and day (NaN: not known) named."""
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(len(visits))],
            "patient_id": [patient for patient, _ in visits],
            "source": "clinic",
            "age": 50.0,
            "sex": "male",
            "recorded_at": [DAY + pd.Timedelta(days=day) if day == day else pd.NaT for _, day in visits],
            "original_rate": 100.0,
            "original_duration": 1.0,
            "calibrated": True,
        }
    )
    writer = ArchiveWriter(folder, SignalSettings(leads=("I",), duration=1, min_duration=1))
    writer.write_part(np.zeros((len(visits), 1, 100), np.float32), table, [])
    return writer.finish()


def day(after: float | None) -> str | None:
    return None if after is None else (DAY + pd.Timedelta(days=after)).date().isoformat()


def diagnosed(*rows: tuple[str | None, float | None, str | None]) -> pd.DataFrame:
    return pd.DataFrame([(p, day(at), code) for p, at, code in rows], columns=["patient_id", "diagnosed_at", "code"])


def seen(*rows: tuple[str | None, float | None, float | None]) -> pd.DataFrame:
    rows = [(p, day(last), day(died)) for p, last, died in rows]
    return pd.DataFrame(rows, columns=["patient_id", "last_contact", "died_at"])


def counted(counts: pd.DataFrame, of: str) -> dict[str, int]:
    part = counts[(counts["of"] == of) & (counts["count"] > 0)]
    return dict(zip(part["what"], part["count"]))


def test_a_cohort_of_survival_by_hand(tmp_path: Path) -> None:
    visits = [
        ("event", 0), ("event", 200),  # AF on day 100: 100 days after the first ECG, before the second
        ("same day", 0),               # AF on the day of the ECG is prevalent
        ("censored", 0),               # last seen on day 400, an earlier contact does not count
        ("dead", 0),                   # died on day 50; a letter of day 90 is no contact
        ("late", 0),                   # AF on day 300 after the last contact on day 30: seen that day
        ("unseen", 0),                 # AF on day 10, but nobody knows who would have been seen without
        ("gone", 20),                  # last seen on day 20: no follow-up
        ("gone prevalent", 20),        # last seen on day 20, but AF on day 5
        ("after death", 0),            # AF coded a day after death
        ("ghost", 60),                 # an ECG after death
        ("undated", np.nan),
    ]  # fmt: skip
    archive = archive_of(tmp_path / "a", visits)
    diagnoses = diagnosed(
        ("event", 100, "I48.0"), ("event", 150, "i48.9"), ("event", -10, "I47.1"), ("same day", 0, "I48"),
        ("censored", -400, "I10"), ("late", 300, "I48.91"), ("unseen", 10, "I48"), ("gone prevalent", 5, "I 48.1"),
        ("after death", 31, "I48"), ("stranger", 0, "I48"), (None, 0, "I48"), ("event", None, "I48"),
        ("event", 1, None),
    )  # fmt: skip
    contacts = seen(
        ("event", 500, None), ("same day", 500, None), ("censored", 400, None), ("censored", 100, None),
        ("dead", 90, 50), ("late", 30, None), ("gone", 20, None), ("gone prevalent", 20, None), ("after death", 30, 30),
        ("ghost", None, 50), ("undated", 1, None), ("unseen", None, None), ("stranger", 1, 1), (None, 1, 1),
    )  # fmt: skip
    labels, counts = survival_labels(archive, diagnoses, contacts, AF)
    assert labels.to_dict("list") == {
        "record_id": ["r0", "r1", "r2", "r3", "r4", "r5", "r8"],
        "time_days": [100, 0, 0, 400, 50, 300, 0],
        "event": [1, 1, 1, 0, 0, 1, 1],
        "prevalent": [0, 1, 1, 0, 0, 0, 1],
    }
    assert counted(counts, "diagnoses") == {
        "in the table": 13, "no patient": 1, "no date": 1, "no code": 1, "of a patient who is not in the archive": 1,
        "of another code": 2, "usable": 7,
    }  # fmt: skip
    assert counted(counts, "contacts") == {
        "in the table": 14, "no patient": 1, "neither last contact nor death": 1,
        "of a patient who is not in the archive": 1, "usable": 11,
    }  # fmt: skip
    assert counted(counts, "records") == {
        "in the archive": 12,
        "no recording date": 1,
        "no last contact or death of the patient": 1,
        "death before the ECG": 1,
        "first AF after death": 1,
        "no follow-up after the ECG": 1,
        "labelled": 7,
        "with AF on the day of the ECG or before": 3,
        "with AF after the ECG": 2,
        "without AF to the end of follow-up": 2,
    }
    assert (
        read_labels(labels, archive, COLUMNS, numbers=True).targets.tolist() == labels[[*COLUMNS]].to_numpy().tolist()
    )


def test_classes_by_code_within_a_window_by_hand(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a", [("a", 0), ("b", 0), ("c", 0), ("d", 0), ("a", 40), ("e", 0)])
    diagnoses = diagnosed(
        ("a", 0, "I48.0"), ("a", 31, "I50.1"),  # heart failure a day after the first ECG's window
        ("b", -8, "I48"), ("b", -7, "I110"), ("b", 30, "i50.0"),  # AF a day before the window
        ("c", 0, "I11.9"),  # of no class
    )  # fmt: skip
    codes = {"AF": ["I48"], "HF": ["I50", "I11.0"]}
    labels, counts = diagnosis_labels(archive, diagnoses, codes, days_before=7, window_days=30)
    assert labels.to_dict("list") == {
        "record_id": ["r0", "r1", "r2", "r4"], "AF": [1, 0, 0, 0], "HF": [0, 1, 0, 0],
    }  # fmt: skip
    assert counted(counts, "records") == {
        "in the archive": 6, "no diagnosis of the patient, of whatever code": 2, "labelled": 4,
        "with AF": 1, "with HF": 1,
    }  # fmt: skip
    assert counted(counts, "diagnoses") == {"in the table": 6, "of another code": 1, "usable": 5}
    contacts = seen(("a", 35, None), ("b", 100, None), ("c", 29, None))
    labels, counts = diagnosis_labels(archive, diagnoses, codes, 7, 30, contacts)
    # Patient c was not followed for 30 days, a not for 30 days after the second ECG.
    assert labels["record_id"].to_list() == ["r0", "r1"]
    assert counted(counts, "records")["no such diagnosis, and not followed for 30 days"] == 2
    labels, _ = diagnosis_labels(archive, diagnoses, codes, 7, 30, seen(("a", 3, None), ("b", 9, None)))
    assert labels.astype(object).where(labels.notna(), None).to_numpy().tolist() == [["r0", 1, None], ["r1", None, 1]]


def test_many_patients_as_a_search_through_the_tables_finds_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    visits = [(f"p{p}", float(d)) for p, d in rng.integers((0, 0), (60, 900), (150, 2))]
    archive = archive_of(tmp_path / "a", visits)
    codes = ["I48.0", "I10", "I48", "E11.9"]
    rows = [(f"p{p}", int(d), codes[c]) for p, d, c in rng.integers((0, -100, 0), (70, 1200, 4), (80, 3))]
    ends = [
        (f"p{p}", int(last), int(last) if died else None)
        for p, last, died in rng.integers((0, 0, 0), (60, 1500, 2), (70, 3))
    ]
    labels, counts = survival_labels(archive, diagnosed(*rows), seen(*ends), AF)
    expected = {}
    for record, (patient, visit) in zip(archive.manifest["record_id"], visits):
        af = min((at for p, at, code in rows if p == patient and code.startswith("I48")), default=None)
        died = min((died for p, _, died in ends if p == patient and died is not None), default=None)
        contact = [last for p, last, _ in ends if p == patient]
        if not contact or (died is not None and (died < visit or (af is not None and af > died))):
            continue
        end = died if died is not None else max([*contact, *([af] if af is not None else [])])
        if af is not None and af <= visit:
            expected[record] = (0, 1, 1)
        elif end > visit:
            expected[record] = (int((end if af is None else af) - visit), int(af is not None), 0)
    assert len(expected) > 40
    assert {row[0]: row[1:] for row in labels.itertuples(index=False, name=None)} == expected
    count = counts[counts["of"] == "records"]["count"].tolist()
    assert count[0] == 150 == sum(count[1:-3])
    assert count[-4] == sum(count[-3:])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda a, d, s: survival_labels(a, d, s, {}),
            r"codes=\{\}: survival is of one event; give its name and codes",
        ),
        (lambda a, d, s: survival_labels(a, d, s, {"AF": []}), r"codes=\{AF: \[\]\}: is no class"),
        (lambda a, d, s: diagnosis_labels(a, d, {}), r"codes=\{\}: there is nothing to look for"),
        (lambda a, d, s: diagnosis_labels(a, d, {"AF": ["I48*"]}), "is no class with the beginnings of its codes"),
        (lambda a, d, s: diagnosis_labels(a, d, AF, -1), "days_before=-1, window_days=183: choose 0"),
        (lambda a, d, s: diagnosis_labels(a, d.drop(columns="code"), AF), "has no column code; it needs patient_id, "),
        (
            lambda a, d, s: diagnosis_labels(a, d.assign(diagnosed_at="1.3.20"), AF),
            "a date such as .*; line 2 does not",
        ),
        (
            lambda a, d, s: survival_labels(a, d, s.assign(patient_id="x"), AF),
            "no usable contact: 1 of a patient who is",
        ),
        (lambda a, d, s: survival_labels(a, d, seen(("a", 0, -1)), AF), "none of 1 records .*: 1 death before the ECG"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, call, message: str) -> None:
    archive = archive_of(tmp_path / "a", [("a", 0)])
    with pytest.raises(ValueError, match=message):
        call(archive, diagnosed(("a", 3, "I48")), seen(("a", 9, None)))


def test_a_salt_finds_patients_and_shifts_dates(write_wfdb, heartbeat, tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        write_wfdb(tmp_path / "clinic", name, heartbeat(seed=seed))
    people = pd.DataFrame({"record_id": ["a", "b"], "patient_id": ["07", "8"], "recorded_at": [day(0), day(0)]})
    salt = "pepper and more pepper"
    archive = ingest(
        tmp_path / "clinic", tmp_path / "archive", workers=1, salt=salt, progress=False, patients=people
    ).archive
    diagnoses, contacts = diagnosed(("07", 12, "I48")), seen(("07", 20, None), ("8", None, 30))
    labels, _ = survival_labels(archive, diagnoses, contacts, AF, data_set="clinic", salt=salt)
    assert archive.rows(labels["record_id"]).tolist() == archive.rows(["a", "b"]).tolist()
    assert labels[["time_days", "event"]].to_numpy().tolist() == [[12, 1], [30, 0]]


def test_the_command_writes_labels_counts_and_the_flow(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    archive_of(tmp_path / "a", [("a", 0), ("b", 0), ("c", 0), ("d", np.nan)])
    diagnosed(("a", 5, "I48")).to_csv(tmp_path / "d.csv", index=False)
    seen(("a", 9, None), ("b", 9, None)).to_csv(tmp_path / "c.csv", index=False)
    out = tmp_path / "labels" / "af.csv"
    paths = [str(tmp_path / "a"), str(tmp_path / "d.csv"), str(out)]
    assert main(["label", *paths, "outcome=survival", "codes={AF: [I48]}", f"contacts={tmp_path / 'c.csv'}"]) == 0
    assert "no last contact or death of the patient" in capsys.readouterr().out.replace("\n", " ")
    assert pd.read_csv(out).to_numpy().tolist() == [["r0", 5, 1, 0], ["r1", 9, 0, 0]]
    assert counted(pd.read_csv(out.with_name("af_flow.csv")), "records")["labelled"] == 2
    drawing = ElementTree.parse(out.with_name("af_flow.svg"))
    texts = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [
        "4 records in the archive", "1 no recording date", "1 no last contact or death of the patient", "2 labelled",
        "0 with AF on the day of the ECG or before", "1 with AF after the ECG", "1 without AF to the end of follow-up",
        "1 of 1 diagnoses usable", "2 of 2 contacts usable",
    ]  # fmt: skip
    before = (tmp_path / "c.csv").read_bytes()
    again = ["label", *paths[:2], str(tmp_path / "c.csv"), "outcome=survival", "codes={AF: [I48]}"]
    assert main([*again, f"contacts={tmp_path / 'c.csv'}"]) == 2
    assert (tmp_path / "c.csv").read_bytes() == before
    for words, message in (
        (["outcome=survival"], "codes: outcome=survival needs it"),
        (["outcome=survival", "codes={AF: [I48]}"], "contacts: outcome=survival needs it"),
        (["codes={AF: [I48]}"], "codes: outcome=low_lvef does not read it; choose outcome=diagnosis"),
        (["outcome=diagnosis", "codes={AF: [I48]}", "threshold=30"], "threshold: outcome=diagnosis does not read it"),
    ):
        assert main(["label", *paths, *words]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
