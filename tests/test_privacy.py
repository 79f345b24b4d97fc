"""An invented person in every place of a source: nothing that any verb writes or says names him, or the machine."""

from __future__ import annotations

import getpass
import logging
import re
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg import open_archive
from ssl_ecg.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.process]

PERSON = "Zwiebelhuber^Xaver 24.12.1931 AQZ77316"
# No mark could be a piece of a hash.
MARKS = re.compile(rb"zwiebel|xaver|24\.12\.1931|24/12/1931|1931-12-24|19311224|aqz77", re.IGNORECASE)
USER, SALT = "some-user-name", "correct horse battery"
SPLIT = ("split.validation=0.25", "split.test=0.3", "split.seed=1")
STEPS = ("steps=4", "batch_size=16", "evaluations=2")


def write_source(folder: Path, named: str, heartbeat, write_wfdb) -> pd.DataFrame:
    """Write recordings and tables with the person in every field that nobody needs, and in many that somebody does.

    Args:
        folder: to write into.
        named: what the folders of patients are called.
        heartbeat: draws.
        write_wfdb: writes.

    Returns:
        The ids of the recordings that can be used.
    """
    ids = []
    for i in range(40):
        comments = f"#Age: {50 + i}\n#Sex: F\n# {PERSON}\n#Name: {PERSON}\n#Birthdate: 24.12.1931\n"
        ids.append(f"{named}{i // 2}/r{i}")
        write_wfdb(folder / ids[-1].split("/")[0], f"r{i}", heartbeat(100, seed=i), 100, comments=comments)
    good = (folder / f"{ids[0]}.hea").read_text().splitlines()
    for number, line in (
        (0, f"bad {PERSON}"),
        (0, "bad 12 AQZ77316 1000"),
        (1, PERSON),
        (1, "bad.dat 16 1/Xaver 16 Xaver"),
    ):
        (folder / f"bad{len(list(folder.glob('bad*')))}.hea").write_text(
            "\n".join([*good[:number], line, *good[number + 1 :]])
        )
    (folder / "letter.txt").write_text(PERSON)
    (folder / "broken.xml").write_text(f"<RestingECG><PatientName>{PERSON}</PatientName><{PERSON}")
    ptbxl = folder / "ptbxl"
    write_wfdb(ptbxl / "records100", "00001_lr", heartbeat(100, seed=99), 100, comments=f"# {PERSON}\n")
    ptbxl.joinpath("scp_statements.csv").write_text(
        f",description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass\nNORM,{PERSON},1,,,NORM,NORM\n"
    )
    row = {
        "ecg_id": 1,
        "patient_id": 1 if named == "ward" else PERSON,
        "age": 80,
        "sex": 0,
        "scp_codes": "{'NORM': 100}",
        "strat_fold": 1,
    }
    row |= {"filename_lr": "records100/00001_lr", "report": PERSON, "nurse": PERSON, "recording_date": "24.12.1931"}
    changes = [{}, *({name: PERSON} for name in ("age", "sex", "scp_codes", "strat_fold"))]
    pd.DataFrame([row | change for change in changes]).to_csv(ptbxl / "ptbxl_database.csv", index=False)
    folder.joinpath("ludb.csv").write_text(f"ID,Rhythms,Name\n{PERSON},Sinus rhythm,{PERSON}\n1,{PERSON},x\n")
    return pd.DataFrame({"record_id": ids})


def found(folder: Path, *more: bytes) -> list[str]:
    """Return the files below a folder in which, or in whose names, a mark stands."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    texts = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    return [
        name
        for name, content in texts.items()
        if MARKS.search(content) or MARKS.search(name.encode()) or any(word in content + name.encode() for word in more)
    ]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, ...]:
    """What would tell of the machine: the paths of the desk, the user and the host."""
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, USER)
    assert getpass.getuser() == USER
    monkeypatch.setattr(socket, "gethostname", lambda: "some-host-name")
    return str(tmp_path).encode(), USER.encode(), b"some-host-name"


@pytest.mark.parametrize("salted", [False, True])
def test_nothing_tells_of_the_person_or_the_machine(
    salted: bool, tmp_path: Path, machine, heartbeat, write_wfdb, monkeypatch, capsys, caplog
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    labels = write_source(source, "Zwiebelhuber" if salted else "ward", heartbeat, write_wfdb)
    labels["AF"] = np.arange(40) // 4 % 2
    labels["NORM"] = 1 - labels["AF"]
    labels.to_csv(tmp_path / "labels.csv", index=False)
    people = labels[["record_id"]].assign(patient_id=[f"{'AQZ77316-' if salted else ''}{i // 2}" for i in range(40)])
    people.to_csv(tmp_path / "people.csv", index=False)
    if salted:
        monkeypatch.setenv("SSL_ECG_SALT", SALT)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> None:
        assert main(words) == 0, capsys.readouterr().err

    folders = {name: str(out / name) for name in ("archive", "encoder", "probe", "model", "comparison")}
    logged = "loggers=[tensorboard,jsonl]"
    small = ("backbone=xresnet1d10", "backbone.width=4", "precision=32-true")
    three = (folders["encoder"], folders["archive"], str(tmp_path / "labels.csv"))
    with caplog.at_level(logging.INFO):
        run("ingest", str(source), folders["archive"], f"patients={tmp_path / 'people.csv'}", "workers=1")
        run("archive", "info", folders["archive"])
        run("archive", "show", folders["archive"])
        holdout = (f"holdout={tmp_path / 'labels.csv'}", *SPLIT)
        run(
            "pretrain",
            *three[1::-1],
            *small,
            "epochs=1",
            "batch_size=8",
            logged,
            f"monitor={tmp_path / 'labels.csv'}",
            "classes=[AF,NORM]",
            *holdout,
        )
        run("probe", *three, folders["probe"], "classes=[AF,NORM]", *SPLIT)
        run(
            "finetune", *three, folders["model"], "classes=[AF,NORM]", *SPLIT, *(f"training.{s}" for s in STEPS), logged
        )
        arms = [f"{arm}.{step}" for arm in ("pretrained_finetune", "scratch") for step in STEPS]
        sizes = ["fractions=[1]", "seeds=[0]", "replicates=20", "pretrained_candidates=[{}]", "scratch_candidates=[{}]"]
        run("compare", *three, folders["comparison"], "classes=[AF,NORM]", *SPLIT, *arms, *sizes, logged)
        run("predict", folders["model"], folders["archive"], str(out / "predictions"))
        if not salted:  # ids of files are their paths
            run("predict", folders["model"], str(source), str(out / "scored"), "workers=1")
        seen = "seen_patients=test"
        run("evaluate", folders["model"], *three[1:], str(out / "evaluation"), seen)

    archive = open_archive(out / "archive")
    assert len(archive) == 41
    kinds = set(archive.rejected["reason"].str.partition(":")[0])
    assert {"broken table", "unknown format"} < kinds
    if salted:
        assert "Zwiebelhuber" in (out / "archive.ids.csv").read_text()  # which stays at home
        (out / "archive.ids.csv").unlink()
    assert found(out, *machine) == []
    shown = capsys.readouterr()
    assert not MARKS.search(f"{shown.out} {shown.err} {caplog.text}".encode())


def test_errors_about_tables_quote_nothing(tmp_path: Path, heartbeat, write_wfdb, capsys) -> None:
    write_wfdb(tmp_path / "source", "r0", heartbeat(100), 100)
    for column in ("age", "sex", "recorded_at"):
        pd.DataFrame({"record_id": ["r0"], column: [PERSON]}).to_csv(tmp_path / "people.csv", index=False)
        line = ["ingest", str(tmp_path / "source"), str(tmp_path / "a"), f"patients={tmp_path / 'people.csv'}"]
        assert main(line) == 2
        error = capsys.readouterr().err
        assert f"people.csv: column {column}, line 2: " in error
        assert not MARKS.search(error.encode())
    (tmp_path / "people.csv").write_bytes(b'record_id,age\n"' + PERSON.encode() + b",3\n\xff")
    assert main(line) == 2
    assert not MARKS.search(capsys.readouterr().err.encode())
