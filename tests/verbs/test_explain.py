"""Heat maps of files and archives, and where they lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import ssl_ecg
from ssl_ecg.cli import main
from ssl_ecg.explain import beat_shares, grad_cam, lead_shares, r_peaks
from ssl_ecg.records import LEADS

PARTS = ["P", "QRS", "ST", "T", "elsewhere"]


@pytest.mark.slow
def test_a_figure_and_a_row_for_each_record_and_class(ward: Path, model: Path, tmp_path: Path) -> None:
    table = ssl_ecg.explain_(model, ward, tmp_path / "out", workers=1, layer="stages.0")
    assert list(table) == ["record_id", "class", "score", *PARTS, *(f"lead_{lead}" for lead in LEADS), "figure"]
    records = [f"bed/ecg{number}" for number in range(4)]
    assert list(table["record_id"]) == [record for record in sorted(records) for _ in range(2)]
    assert list(table["class"]) == ["AF", "LBBB"] * 4
    written = {path.name: path for path in (tmp_path / "out").glob("*.png")}
    assert set(written) == set(table["figure"])
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written.values())
    scores = ssl_ecg.predict(model, ward, workers=1).set_index("record_id")
    for row in table.to_dict("records"):
        assert row["score"] == pytest.approx(scores.loc[row["record_id"], f"{row['class']}_score"], abs=1e-5)
    read = pd.read_csv(tmp_path / "out" / "shares.csv")
    np.testing.assert_allclose(read["QRS"], table["QRS"], rtol=1e-4)

    loaded = ssl_ecg.load_model(model)
    (ecg,) = ssl_ecg.read_records(ward / "bed" / "ecg1.hea")
    from ssl_ecg.archive.prepared import prepare_record

    signals = prepare_record(ecg, loaded.encoder.signal)
    signal, recorded, leads = map(torch.from_numpy, signals)
    layer = loaded.encoder.backbone.stages[0]
    heat = grad_cam(loaded, signal, "LBBB", layer, recorded=recorded, leads=leads).numpy()
    wanted = beat_shares(heat, [r_peaks(signals.signal[0], 100)], 100).iloc[0]
    row = table[(table["record_id"] == "bed/ecg1") & (table["class"] == "LBBB")].iloc[0]
    np.testing.assert_allclose(row[PARTS].astype(float), wanted, atol=1e-6)
    assert row[[f"lead_{lead}" for lead in LEADS]].sum() == pytest.approx(1)


@pytest.mark.slow
def test_records_and_classes_that_are_named(ward: Path, model: Path, tmp_path: Path) -> None:
    ssl_ecg.ingest(ward, tmp_path / "archive", duration=5, min_duration=4, workers=1, progress=False, patients=None)
    for source in (ward, tmp_path / "archive"):
        out = tmp_path / f"of_{source.name}"
        options = {"records": ["bed/ecg2"], "classes": ["LBBB"], "format": "svg", "workers": 1}
        table = ssl_ecg.explain_(model, source, out, **options)
        assert table[["record_id", "class"]].to_numpy().tolist() == [["bed/ecg2", "LBBB"]]
        assert [path.suffix for path in out.glob("*.*g")] == [".svg"]
        assert len(ssl_ecg.explain_(model, source, out, limit=2, classes=["AF"], workers=1)) == 2
        assert not list(out.glob("*.svg")) or len(list(out.glob("*.png"))) == 2
        for change, message in (
            ({"records": ["bed/ecg9"]}, "did you mean bed/ecg"),
            ({"classes": ["LBB"]}, "did you mean LBBB"),
            ({"layer": "stage.0"}, "did you mean stages.0"),
        ):
            with pytest.raises(ValueError, match=message):
                ssl_ecg.explain_(model, source, tmp_path / "new", workers=1, **change)
    with pytest.raises(ValueError, match=r"no record can be used \(flat lead"):
        ssl_ecg.explain_(model, ward / "flat.hea", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_survival_has_a_map_of_the_risk(ward: Path, save_model: Callable[..., Path], tmp_path: Path) -> None:
    model = save_model("af_survival", None, bins=4)
    one = ward / "bed" / "ecg0.hea"
    assert main(["explain", str(model), str(one), str(tmp_path / "out")]) == 0
    table = pd.read_csv(tmp_path / "out" / "shares.csv")
    assert list(table["class"]) == ["risk"]
    assert table["score"].iloc[0] == pytest.approx(ssl_ecg.predict(model, one)["risk_at_horizon"].iloc[0], abs=1e-5)


def test_names_of_records_never_leave_the_folder(
    model: Path, heartbeat: Callable, write_wfdb: Callable[..., Path], tmp_path: Path
) -> None:
    write_wfdb(tmp_path / "ward" / "a b;..c", "x-y", heartbeat())
    table = ssl_ecg.explain_(model, tmp_path / "ward", tmp_path / "out", classes=["AF"], workers=1)
    assert table["figure"].to_list() == ["000_a_b_c_x-y_AF.png"]
    assert (tmp_path / "out" / "000_a_b_c_x-y_AF.png").is_file()


def test_shares_of_leads_are_those_of_what_the_output_uses() -> None:
    weights = torch.zeros(12)
    weights[[1, 6, 9]] = torch.tensor([3.0, 1.0, -5.0])

    def output(signal: Tensor, recorded: Tensor, leads: Tensor) -> Tensor:
        return (signal.abs().amax(2) * leads) @ weights

    signal = torch.ones(1, 12, 50)
    recorded, leads = torch.tensor([50]), torch.ones(1, 12, dtype=torch.bool)
    found = lead_shares(output, signal, recorded, leads)
    np.testing.assert_allclose(found[[1, 6, 9]], [0.75, 0.25, 0])
    leads[0, 1] = False
    np.testing.assert_allclose(lead_shares(output, signal, recorded, leads)[[1, 6]], [0, 1])
    assert np.isnan(lead_shares(lambda *given: given[0].sum((1, 2)) * 0, signal, recorded, leads)).all()


@pytest.mark.slow
def test_the_map_of_the_risk_knows_nothing_of_auxiliary_targets(
    ward: Path, save_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = ssl_ecg.load_model(save_model("af_survival", None, bins=4, auxiliary={"age": 1.0}))
    one = ward / "bed" / "ecg0.hea"
    before = ssl_ecg.explain_(model, one, tmp_path / "out")
    with torch.no_grad():
        model.head.weight[-1] += 100
    after = ssl_ecg.explain_(model, one, tmp_path / "out")
    pd.testing.assert_frame_equal(before, after)
    with torch.no_grad():
        model.head.weight[0] += 100 * torch.randn(64)
    assert not before.equals(ssl_ecg.explain_(model, one, tmp_path / "out"))
