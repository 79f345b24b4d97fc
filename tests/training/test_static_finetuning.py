"""Finetuning with static inputs: what only they tell is learned, and what cannot be is refused before training."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import ssl_ecg
from ssl_ecg.estimators import EcgClassifier
from ssl_ecg.tasks import load_model
from ssl_ecg.tasks.static_inputs import static_of
from ssl_ecg.training import FinetuneSettings
from ssl_ecg.training.finetune_module import FinetuneModule

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from conftest import Labelled

SPLIT = {"seed": 4, "validation": 0.3, "test": 0.3}


@pytest.fixture(scope="module")
def table(labelled: Labelled) -> pd.DataFrame:
    """Labels that a column of the table tells and the ECG does not; the column is blank for some, who all have one."""
    rng = np.random.default_rng(0)
    count = len(labelled.archive)
    lab = rng.normal(100, 20, count)
    label = (lab > 100).astype(float)
    missing = rng.random(count) < 0.15
    label[missing] = 1
    made = pd.DataFrame({"record_id": labelled.archive.manifest["record_id"], "high": label})
    return made.assign(lab=np.where(missing, np.nan, lab), unit="mg", fast=rng.integers(0, 2, count))


@pytest.fixture
def options(tiny_finetuning: FinetuneSettings) -> dict[str, Any]:
    training = tiny_finetuning.replace(steps=60, learning_rate=1e-3, layer_decay=1.0, head="zero", evaluations=2)
    return {"classes": ["high"], "split": SPLIT, "training": training, "progress": False}


def test_what_only_a_column_tells_is_learned_from_it(
    labelled: Labelled, table: pd.DataFrame, options: dict[str, Any], tmp_path: Path
) -> None:
    call = (labelled.encoder, labelled.archive, table)
    training = options.pop("training")
    without = ssl_ecg.finetune(*call, tmp_path / "without", training=training, **options)
    given = {**options, "training": training.replace(static=("lab", "age", "sex"))}
    wide = ssl_ecg.finetune(*call, tmp_path / "wide", **given)
    assert without.metrics["macro_auroc"] < 0.65
    assert wide.metrics["macro_auroc"] > 0.95
    weight = wide.model.head.beside.weight[0]  # of lab, age and sex, and of whether each is unknown
    assert weight[0] > 2 * weight[1:3].abs().max()
    assert weight[3] > 0.5
    assert weight[4:].tolist() == [0, 0]  # nobody's is
    curves = [pd.read_csv(tmp_path / name / "curve.csv") for name in ("without", "wide")]
    assert curves[0].loc[0].to_dict() == pytest.approx(curves[1].loc[0].to_dict(), nan_ok=True)
    assert json.loads((tmp_path / "wide" / "task.json").read_text())["static"] == ["lab", "age", "sex"]
    assert "Its static inputs are lab, age, sex" in (tmp_path / "wide" / "README.md").read_text()

    again = ssl_ecg.finetune(*call, tmp_path / "wide", **given)
    assert again.metrics == pytest.approx(wide.metrics, nan_ok=True)
    other = (labelled.encoder, labelled.archive, table.assign(lab=table["lab"] + 1))
    with pytest.raises(ValueError, match="static"):
        ssl_ecg.finetune(*other, tmp_path / "wide", **given)


def test_standardising_is_by_each_training_record_once(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    few = tuple(part[:20] for part in labelled.train)  # fewer than a batch, which repeats them
    model = labelled.finetune(tiny_finetuning.replace(static=("age", "rhythm"), steps=1), train=few).model
    values = static_of(("age", "rhythm"), labelled.archive, few[0]).astype(float)
    np.testing.assert_allclose(model.head.inputs.mean, np.nanmean(values, 0), rtol=1e-5)
    np.testing.assert_allclose(model.head.inputs.deviation, np.nanstd(values, 0), rtol=1e-4)


def test_probe_and_hidden_heads_start_as_without(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    for head in ("probe", "hidden"):
        settings = tiny_finetuning.replace(head=head, steps=4, evaluations=1)
        plain, wide = (labelled.finetune(settings.replace(static=static)) for static in ((), ("age",)))
        assert wide.curve[0] == pytest.approx(plain.curve[0], nan_ok=True)
        assert wide.curve[1] != pytest.approx(plain.curve[1])


@pytest.mark.parametrize(
    ("static", "more", "message"),
    [
        (["high"], {}, "static='high': is what is learned; choose one of"),
        (["lba"], {}, "static='lba': is no column, or blank throughout; did you mean lab?"),
        (["unit"], {}, "static='unit': holds what is no number; choose one of"),
        (["record_id"], {}, "static='record_id': says which record it is"),
        (["fast"], {"classes": None}, "static='fast': holds 1 and 0, as labels do; say which columns are labels"),
        (["age"], {"blend": True}, "blend=True, static=['age']: a blend has no static inputs; leave one out"),
        (
            ["age"],
            {"training": {"attention": 0.1}},
            "training.static=['age']: attention is for heads of features alone",
        ),
        (["age", "age"], {}, "training.static=['age', 'age']: age stands there twice; name it once"),
    ],
)
def test_what_cannot_be_is_refused_before_training(
    static: list[str],
    more: dict[str, Any],
    message: str,
    labelled: Labelled,
    table: pd.DataFrame,
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ssl_ecg.verbs.finetune.train_model", None)
    training = {"static": static, **more.pop("training", {})}
    given = {**options, "training": training, **more}
    table = table if given["classes"] else table[["record_id", "high", "fast"]]
    with pytest.raises(ValueError, match="^" + re.escape(message)) as error:
        ssl_ecg.finetune(labelled.encoder, labelled.archive, table, tmp_path / "out", **given)
    assert "\n" not in str(error.value)


def test_others_take_static_inputs_or_say_that_they_do_not(
    labelled: Labelled, table: pd.DataFrame, options: dict[str, Any], tmp_path: Path
) -> None:
    training = options["training"].replace(static=("lab", "rhythm"), steps=4, evaluations=1)
    call = (labelled.encoder, labelled.archive, table)
    fitted = ssl_ecg.finetune(*call, tmp_path / "wide", **{**options, "training": training})
    model = tmp_path / "wide"
    for teacher, more in ((model, {}), (fitted.model, {"training": {"static": ["age"]}})):
        with pytest.raises(
            ValueError, match=r"static=\['lab', 'rhythm'\]: both models of distilling see signals alone"
        ):
            ssl_ecg.distil(teacher, labelled.archive, table[["record_id", "high"]], tmp_path / "student", **more)
    with pytest.raises(ValueError, match="models: number 1 has static inputs, lab, rhythm; join models of the signal"):
        ssl_ecg.ensemble([fitted.model, fitted.model], labelled.archive, table, tmp_path / "ensemble")
    signal = labelled.archive.read(np.arange(20)).signal
    with pytest.raises(ValueError, match="static='age': is no column, or blank throughout; choose one of"):
        EcgClassifier(labelled.encoder, training={"static": ["age"]}).fit(signal, np.arange(20) % 2)
    about = {"seen_patients": "test", "distortions": ["missing_leads"], "replicates": 20}
    worse = ssl_ecg.robustness(model, labelled.archive, table, tmp_path / "robust", **about)
    assert worse["mean"].notna().all()
    shares = ssl_ecg.explain_(model, labelled.archive, tmp_path / "maps", limit=1)
    predicted = ssl_ecg.predict(model, labelled.archive)
    assert shares["score"][0] == pytest.approx(predicted["high_score"][0], abs=1e-5)
    found = fitted.predict(labelled.archive, np.arange(2))["high_score"]
    np.testing.assert_allclose(found, predicted["high_score"][:2], atol=1e-5)


def test_compare_trains_arms_with_static_inputs(
    labelled: Labelled, table: pd.DataFrame, options: dict[str, Any], tmp_path: Path
) -> None:
    scratch = {**options["training"].to_dict(), "evaluations": 1}
    arms = ("scratch", "pretrained_probe", "random_probe")
    given = {"classes": ["high"], "split": SPLIT, "arms": arms, "fractions": (1.0,), "seeds": (0,), "probe_draws": 1}
    tries = ({"static": ["lab", "age"]}, {})
    found = ssl_ecg.compare(
        labelled.encoder,
        labelled.archive,
        table,
        tmp_path / "out",
        **given,
        scratch=scratch,
        pretrained_finetune=scratch,
        scratch_candidates=tries,
        pretrained_candidates=tries,
        replicates=20,
        progress=False,
    )
    auroc = found[found["metric"] == "macro_auroc"].set_index("arm")["mean"]
    assert auroc["scratch"] > 0.85 > 0.7 > auroc["pretrained_probe"]
    result = json.loads((tmp_path / "out" / "runs" / "scratch-1-0" / "result.json").read_text())
    assert result["candidate"] == 0
    model = load_model(tmp_path / "out" / "models" / "scratch")
    assert model.static == ("lab", "age")


def test_static_values_are_gathered_with_their_records(
    labelled: Labelled, tiny_finetuning: FinetuneSettings, at_every_step: Any
) -> None:
    def look(module: FinetuneModule, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return batch["row"], batch["static"]

    seen = at_every_step(look)
    labelled.finetune(tiny_finetuning.replace(static=("age", "rhythm"), steps=3, evaluations=1))
    assert len(seen) == 3
    for rows, values in seen:
        expected = static_of(("age", "rhythm"), labelled.archive, rows.numpy())
        torch.testing.assert_close(values, torch.from_numpy(expected), equal_nan=True)


def test_ablations_prepare_the_static_inputs_of_every_variant(
    labelled: Labelled, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr("ssl_ecg.verbs.ablate.run", lambda *arguments: given.extend(arguments))
    monkeypatch.setattr("ssl_ecg.report.draw_ablation", lambda out: None)
    words = {"finetune": ["training.static=[lab]"], "scratch": ["training.static=[rhythm]"]}
    ablation = {"variants": {"one": words}}
    ssl_ecg.ablate(labelled.archive, table, tmp_path / "out", ablation=ablation, classes=["high"], split=SPLIT)
    variants, archive = given[:2]
    assert variants[0].static == ("lab", "rhythm")
    assert {"lab", "rhythm.qtc"} <= set(archive.manifest)
    ablation = {"variants": {"one": {**words, "finetune": ["training.static=[unit]"]}}}
    with pytest.raises(ValueError, match="static='unit': holds what is no number"):
        ssl_ecg.ablate(labelled.archive, table, tmp_path / "out", ablation=ablation, classes=["high"], split=SPLIT)
