from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.tasks import (
    Classifier,
    create_task,
    read_task,
)
from ssl_ecg.training import FinetuneSettings, extract_features, finetune, predict_scores
from ssl_ecg.training.finetune_module import layer_groups

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from conftest import Labelled


def norms(model: nn.Module) -> list[nn.BatchNorm1d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_norms_train_unless_they_are_frozen(
    labelled: Labelled, tiny_finetuning: FinetuneSettings, at_every_step: Any, frozen: bool
) -> None:
    # The encoder comes in eval mode, in which batch norms would neither use nor follow the batch.
    modes = at_every_step(lambda module, _: {norm.training for norm in norms(module.model)} | {module.model.training})
    finished = labelled.finetune(tiny_finetuning.replace(freeze_norm=frozen, head="zero", learning_rate=0.01))
    assert len(modes) == 8
    # The model as a whole trains in every step, also after a validation.
    assert all(mode == ({False, True} if frozen else {True}) for mode in modes)
    assert finished.best["step"] > 0
    pairs = list(zip(norms(finished.model), norms(labelled.encoder), strict=True))
    # What can be learned is learned all the same.
    assert any(not torch.equal(norm.bias, before.bias) for norm, before in pairs)
    for norm, before in pairs:
        assert torch.equal(norm.running_mean, before.running_mean) == frozen
        assert torch.equal(norm.running_var, before.running_var) == frozen
        assert int(norm.num_batches_tracked) == int(before.num_batches_tracked) + (
            0 if frozen else finished.best["step"]
        )


def test_the_given_encoder_is_not_touched(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    before = copy.deepcopy(labelled.encoder.state_dict())
    finished = labelled.finetune(tiny_finetuning.replace(freeze_norm=False, learning_rate=0.01))
    assert all(torch.equal(value, before[name]) for name, value in labelled.encoder.state_dict().items())
    assert not labelled.encoder.training
    assert not any(module.training for module in finished.model.modules())


def test_nothing_is_written_into_the_archive(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    before = {path: path.stat().st_mtime_ns for path in labelled.archive.folder.rglob("*")}
    labelled.finetune(tiny_finetuning.replace(steps=2, evaluations=1))
    assert {path: path.stat().st_mtime_ns for path in labelled.archive.folder.rglob("*")} == before


def test_evaluations_take_at_most_a_fifth_of_the_time() -> None:
    # A forward pass costs 1 a sample, a step 3: 15 evaluations may take 3 / 4 of the samples trained on.
    settings = FinetuneSettings()
    assert settings.evaluations_of(trained=20_000, scored=1_000) == 15
    assert settings.evaluations_of(trained=20_000, scored=1_001) == 14
    assert settings.evaluations_of(trained=20_000, scored=2_500) == 6
    assert settings.evaluations_of(trained=1, scored=10**9) == 5  # few labels need the choice of the step
    assert settings.replace(evaluations=40).evaluations_of(trained=1, scored=10**9) == 40
    for scored in (1_001, 2_000, 3_000):
        spent = scored * settings.evaluations_of(20_000, scored)
        assert spent / (spent + 3 * 20_000) <= 0.2


def test_many_validation_records_are_scored_less_often(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    rows, targets = labelled.validation
    settings = tiny_finetuning.replace(head="zero", steps=12, batch_size=16, crop=2.5, evaluations=None)
    # 12 steps of 16 records of 250 samples; as many validation records as allow six evaluations but not seven.
    many = np.arange(round(0.75 * 12 * 16 * 250 / 500 / 6)) % len(rows)
    curve = labelled.finetune(settings, validation=(rows[many], targets[many])).curve
    assert [row["step"] for row in curve] == [0, 2, 4, 6, 8, 10, 12]


def test_learning_rates_fall_towards_the_input(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    model = Classifier(copy.deepcopy(labelled.encoder), labelled.task)
    groups = layer_groups(model, tiny_finetuning.replace(learning_rate=0.1, layer_decay=0.5, weight_decay=0.2))
    names = {id(p): name for name, p in model.named_parameters()}
    rate = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
    decay = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    assert set(rate) == set(names.values())  # every parameter, each once
    assert sum(len(group["params"]) for group in groups) == len(rate)
    assert rate["head.weight"] == rate["head.bias"] == rate["encoder.backbone.stages.3.0.branch.0.0.weight"] == 0.1
    stages = [rate[f"encoder.backbone.stages.{stage}.0.branch.0.0.weight"] for stage in range(4)]
    assert stages == pytest.approx([0.0125, 0.025, 0.05, 0.1])
    assert rate["encoder.backbone.stem.0.0.weight"] == pytest.approx(0.00625)
    for name, parameter in model.named_parameters():
        assert decay[name] == (0.2 if parameter.ndim > 1 else 0.0)
    flat = layer_groups(model, tiny_finetuning.replace(learning_rate=0.1, layer_decay=1.0))
    assert {group["lr"] for group in flat} == {0.1}


@pytest.mark.parametrize("best", [0, 2, 5])
def test_the_best_evaluation_is_kept_the_earliest_of_equals(
    labelled: Labelled, tiny_finetuning: FinetuneSettings, monkeypatch: pytest.MonkeyPatch, best: int
) -> None:
    task = create_task("arrhythmia", labelled.task.classes)
    scores = [0.6, 0.5, 0.7, 0.4, 0.7, 0.3]
    scores[best] = 0.8
    scores[-1] = max(scores[-1], 0.8 if best < 5 else 0)  # a later one that is as good
    given = iter(scores)
    monkeypatch.setattr(task, "evaluate", lambda targets, scores: {"macro_auroc": next(given)})
    settings = tiny_finetuning.replace(head="zero", steps=10, evaluations=5, learning_rate=0.02, freeze_norm=False)
    finished = finetune(labelled.encoder, task, labelled.archive, labelled.train, labelled.validation, settings)
    assert [row["step"] for row in finished.curve] == [0, 2, 4, 6, 8, 10]
    assert [row["validation_macro_auroc"] for row in finished.curve] == scores
    assert finished.best == finished.curve[best]
    # The weights are those of that evaluation: its loss comes out again.
    rows, targets = labelled.validation
    losses = [row["validation_loss"] for row in finished.curve]
    kept = predict_scores(finished.model, labelled.archive, rows)
    loss = float(nn.BCELoss()(torch.from_numpy(kept), torch.from_numpy(targets)))
    assert loss == pytest.approx(losses[best], rel=1e-4)
    assert len({round(loss, 6) for loss in losses}) == len(losses)


def test_epochs_pass_over_all_records_and_the_schedule_lasts_as_long(
    labelled: Labelled, tiny_finetuning: FinetuneSettings, at_every_step
) -> None:
    rows, targets = labelled.train[0][:64], labelled.train[1][:64]
    seen = at_every_step(
        lambda module, batch: (batch["row"].tolist(), module.trainer.optimizers[0].param_groups[-1]["lr"])
    )
    settings = tiny_finetuning.replace(epochs=3, schedule="onecycle", warmup=0.34, evaluations=3, head="zero")
    finished = labelled.finetune(settings, train=(rows, targets))
    assert [row["step"] for row in finished.curve] == [0, 2, 4, 6]
    passes = [sorted(seen[i][0] + seen[i + 1][0]) for i in (0, 2, 4)]
    assert passes == [sorted(rows.tolist())] * 3
    assert int(np.argmax([rate for _, rate in seen])) == 1
    assert seen[1][1] == pytest.approx(settings.learning_rate)
    assert seen[5][1] < 1e-3 * settings.learning_rate


def test_the_test_set_cannot_be_seen(
    labelled: Labelled, tiny_finetuning: FinetuneSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any("test" in name for name in inspect.signature(finetune).parameters)
    read: set[int] = set()
    original = Archive.stored

    def spy(self: Archive, rows: Any) -> np.ndarray:
        read.update(np.atleast_1d(rows).tolist())
        return original(self, rows)

    monkeypatch.setattr(Archive, "stored", spy)
    labelled.finetune(tiny_finetuning.replace(steps=2, evaluations=1))
    assert read == {*labelled.train[0].tolist(), *labelled.validation[0].tolist()}


def test_the_same_seed_gives_the_same_model(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    settings = tiny_finetuning.replace(crop=2.5, augment={"gaussian_noise": 0.2}, freeze_norm=False, head="zero")
    one = labelled.finetune(settings)
    torch.manual_seed(987)
    again, other = labelled.finetune(settings), labelled.finetune(settings.replace(seed=1))
    weights, others = one.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in again.model.state_dict().items())
    assert again.curve[1:] == one.curve[1:]
    assert not torch.equal(weights["head.weight"], others["head.weight"])


def test_training_sees_crops_and_augmented_signals_and_validation_whole_ones(
    labelled: Labelled, tiny_finetuning: FinetuneSettings
) -> None:
    shapes: dict[bool, set[int]] = {True: set(), False: set()}
    masked: list[bool] = []
    encoder = copy.deepcopy(labelled.encoder)

    def look(module: nn.Module, inputs: tuple[Tensor]) -> None:
        shapes[module.training].add(inputs[0].shape[-1])
        masked.append(bool((inputs[0] == 0).all(2).any()) == module.training)

    encoder.backbone.register_forward_pre_hook(look)
    settings = tiny_finetuning.replace(crop=2.5, augment={"lead_masking": 0.5}, freeze_norm=False)
    labelled.finetune(settings, encoder)
    assert shapes == {True: {250}, False: {500}}
    assert all(masked)


def test_unknown_labels_are_left_out(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    rows, targets = labelled.train
    blank = targets.copy()
    blank[::3, 0] = np.nan
    blank[1::3, 1] = np.nan
    finished = labelled.finetune(tiny_finetuning, train=(rows, blank))
    assert all(np.isfinite(row["validation_loss"]) for row in finished.curve)
    assert all(np.isfinite(row["train_loss"]) for row in finished.curve[1:])


def test_a_handful_of_records_is_learned_by_heart(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    slow = labelled.train[1][:, 1] == 1
    chosen = np.concatenate([np.flatnonzero(slow)[:4], np.flatnonzero(~slow)[:4]])
    handful = labelled.train[0][chosen], labelled.train[1][chosen]
    settings = tiny_finetuning.replace(head="zero", steps=60, evaluations=2, learning_rate=0.01, freeze_norm=False)
    finished = labelled.finetune(settings, train=handful, validation=handful)
    assert finished.curve[-1]["train_loss"] < 0.1
    assert finished.best["validation_macro_auroc"] == 1


def test_slow_rhythms_are_learned_above_chance_on_unseen_patients(
    labelled: Labelled, tiny_finetuning: FinetuneSettings
) -> None:
    settings = tiny_finetuning.replace(
        head="zero",
        steps=100,
        evaluations=5,
        learning_rate=0.02,
        layer_decay=1.0,
        crop=4.0,
        freeze_norm=False,
    )
    finished = labelled.finetune(settings)
    rows, targets = labelled.test
    scores = predict_scores(finished.model, labelled.archive, rows)
    assert scores.shape == targets.shape
    assert ((scores >= 0) & (scores <= 1)).all()
    assert roc_auc_score(targets, scores, average="macro") > 0.8
    rows, targets = labelled.validation
    scores = predict_scores(finished.model, labelled.archive, rows)
    assert roc_auc_score(targets, scores, average="macro") == pytest.approx(finished.best["validation_macro_auroc"])


def test_fewer_records_than_a_batch_are_enough(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    few = labelled.train[0][:5], labelled.train[1][:5]
    finished = labelled.finetune(tiny_finetuning.replace(head="zero", steps=3, evaluations=3), train=few)
    assert [row["step"] for row in finished.curve] == [0, 1, 2, 3]


def test_features_do_not_depend_on_the_batch_size(labelled: Labelled) -> None:
    encoder = copy.deepcopy(labelled.encoder).train()
    rows = labelled.test[0]
    features = extract_features(encoder, labelled.archive, rows, batch_size=7)
    assert encoder.training  # as it was
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, extract_features(encoder, labelled.archive, rows), rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        expected = labelled.encoder(*map(torch.from_numpy, labelled.archive.read(rows))).numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    assert extract_features(encoder, labelled.archive, rows[:0]).shape == (0, encoder.width)


def test_data_prepared_otherwise_is_refused(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    other = Encoder("xresnet1d10", {"width": 8}, labelled.archive.settings.replace(normalise="none"))
    with pytest.raises(ValueError, match="normalise: none against lead"):
        labelled.finetune(tiny_finetuning, other)
    with pytest.raises(ValueError, match="normalise: none against lead"):
        extract_features(other, labelled.archive, labelled.test[0])


def test_no_record_to_train_on_is_refused(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    none = labelled.train[0][:0], labelled.train[1][:0]
    with pytest.raises(ValueError, match=r"no (record|example)"):
        labelled.finetune(tiny_finetuning.replace(head="zero"), train=none)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"epochs": 0},
        {"schedule": "step"},
        {"batch_size": 0},
        {"learning_rate": -1.0},
        {"evaluations": 0},
        {"layer_decay": 0.0},
        {"layer_decay": 1.5},
        {"head": "random"},
        {"crop": 0.0},
        {"supervised_contrastive": -0.1},
        {"attention": -1.0},
        {"semantic_views": True},
    ],
)
def test_impossible_settings_are_refused_by_name(change: dict[str, Any]) -> None:
    (name, value) = next(iter(change.items()))
    with pytest.raises(ValueError, match=rf"{name}={value!r}"):
        FinetuneSettings(**change)


@pytest.fixture(scope="module")
def followed(labelled: Labelled) -> Labelled:
    """The same records and encoder, with their follow-up for atrial fibrillation."""
    path = labelled.archive.folder / "labels" / "af_survival.csv"
    labels, task = read_task("af_survival", path, labelled.archive)
    targets = dict(zip(labels.rows.tolist(), labels.targets, strict=True))
    parts = [
        (rows, np.stack([targets[row] for row in rows.tolist()]))
        for rows, _ in (labelled.train, labelled.validation, labelled.test)
    ]
    return replace(labelled, task=task, train=parts[0], validation=parts[1], test=parts[2])


def test_records_that_teach_nothing_are_never_drawn(
    followed: Labelled, tiny_finetuning: FinetuneSettings, at_every_step: Any
) -> None:
    silent = set(followed.train[0][~followed.task.informative(followed.train[1])].tolist())
    drawn = at_every_step(lambda _, batch: set(batch["row"].tolist()))
    followed.finetune(tiny_finetuning.replace(steps=24))  # several epochs, each of which leaves an incomplete batch out
    assert silent
    assert set.union(*drawn) == set(followed.train[0].tolist()) - silent


def test_one_record_of_each_patient_comes_in_a_batch_where_wanted(
    followed: Labelled, tiny_finetuning: FinetuneSettings, at_every_step: Any
) -> None:
    patients = at_every_step(lambda _, batch: batch["patient"].tolist())
    followed.finetune(tiny_finetuning)
    assert any(len(set(batch)) < len(batch) for batch in patients)
    patients.clear()
    followed.finetune(tiny_finetuning.replace(one_per_patient=True))
    assert len(patients) == 8
    assert all(len(set(batch)) == len(batch) for batch in patients)


def test_survival_starts_as_its_probe(followed: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    curve = followed.finetune(tiny_finetuning.replace(steps=2, evaluations=1)).curve
    (train_rows, train), (rows, targets) = followed.train, followed.validation
    train_x, x = (extract_features(followed.encoder, followed.archive, r) for r in (train_rows, rows))
    probe = followed.task.fit_probe(train_x, train, x, targets)
    for name, value in followed.task.evaluate(targets, probe.scores(x)).items():
        assert curve[0][f"validation_{name}"] == pytest.approx(value, abs=1e-3)


def test_a_hidden_layer_is_trained_where_wanted(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    finished = labelled.finetune(tiny_finetuning.replace(head="hidden", steps=60, evaluations=3, learning_rate=0.01))
    assert finished.curve[0]["validation_macro_auroc"] == 0.5  # the last layer starts at zero
    assert finished.best["validation_macro_auroc"] > 0.7
    assert [type(layer).__name__ for layer in finished.model.head][-1] == "Linear"
    assert len(finished.model.head) == 7


@pytest.mark.parametrize(
    ("given", "batches", "steps"),
    [({}, 1, 200), ({}, 13, 200), ({}, 14, 210), ({"steps": 7}, 14, 7), ({"epochs": 3}, 14, 42)],
)
def test_the_budget_grows_with_the_labels(given: dict, batches: int, steps: int) -> None:
    assert FinetuneSettings(**given).steps_of(batches) == steps
