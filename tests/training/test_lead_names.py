"""Names of leads reach augmentation from the archive, so that limb leads agree in what the network sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from ssl_ecg.archive import Archive, open_archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.objectives import create_objective
from ssl_ecg.signals import SignalSettings
from ssl_ecg.synthetic import synthesize
from ssl_ecg.tasks import create_task
from ssl_ecg.training import FinetuneSettings, PretrainSettings, finetune, pretrain
from ssl_ecg.views import AUGMENTATIONS

STRENGTH = 0.2
KEEPS_LIMB_LEADS = [name for name in AUGMENTATIONS if name != "lead_masking"]
# Objective and backbone to how leads and records lie in the rows that the network sees.
SEEN = {
    "cmsc": ({"name": "cmsc"}, "xresnet1d10", lambda rows: rows),
    "cmsc-single": (
        {"name": "cmsc", "leads": "single"},
        "lead_wise",
        lambda rows: rows.unflatten(0, (-1, 12)).flatten(1, 2),
    ),
    "cmlc": (
        {"name": "cmlc"},
        "lead_wise",
        lambda rows: rows.unflatten(0, (12, -1)).squeeze(2).transpose(0, 1),
    ),
    "cmsmlc": (
        {"name": "cmsmlc"},
        "lead_wise",
        lambda rows: rows.unflatten(0, (2, 12, -1)).squeeze(3).transpose(1, 2).flatten(0, 1),
    ),
}


@pytest.fixture(scope="module")
def millivolts(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """12 ECGs at 250 Hz, where mains hum can be, in the one unit in which Einthoven's law holds."""
    settings = SignalSettings(sampling_rate=250, duration=6, normalise="none")
    folder: Path = tmp_path_factory.mktemp("millivolts")
    return open_archive(synthesize(folder, 12, seed=3, sampling_rate=250, duration=6, workers=1, settings=settings))


def configured(objective: dict[str, str], backbone: str, augment: list[str]) -> PretrainSettings:
    """Settings with these augmentations and no other."""
    return PretrainSettings(
        objective={**objective, "augment": dict.fromkeys(augment, STRENGTH)},
        backbone={"name": backbone, "width": 8},
        epochs=1,
        devices=1,
    )


def limb_errors(signal: Tensor) -> Tensor:
    """How far III, aVR, aVL and aVF are from what I and II make them [4]."""
    one, two, three, right, left, foot = signal[:, :6].unbind(1)
    pairs = [(three, two - one), (right, -(one + two) / 2), (left, one - two / 2), (foot, two - one / 2)]
    return torch.stack([(lead - derived).abs().max() for lead, derived in pairs])


@pytest.mark.parametrize("name", KEEPS_LIMB_LEADS)
@pytest.mark.parametrize("case", SEEN)
def test_limb_leads_agree_in_the_batch_that_the_network_sees(case: str, name: str, millivolts: Archive) -> None:
    objective, backbone, by_record = SEEN[case]
    settings = configured(objective, backbone, [name])
    encoder = Encoder(settings.backbone.name, settings.backbone.options, millivolts.settings)
    objective = create_objective(settings.objective.name, encoder.backbone, 250.0, **settings.objective.options)
    seen: list[Tensor] = []
    objective.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    signal, recorded, leads = map(torch.from_numpy, millivolts.read(np.arange(8)))
    objective({"signal": signal, "recorded": recorded, "leads": leads, "patient": torch.arange(8)})
    views = by_record(seen[0])
    assert views.shape[1] == 12
    length = views.shape[2]
    plain = torch.cat([signal[..., :length], signal[..., -length:]]) if len(views) == 16 else signal
    assert (views - plain).abs().max() > 0.02
    # Signals are stored in steps of 1 uV, leads each rounded on its own.
    assert (limb_errors(views) < 0.01).all()


def test_pretraining_takes_every_augmentation_at_once(millivolts: Archive, tmp_path: Path) -> None:
    settings = configured({"name": "cmsc"}, "xresnet1d10", list(AUGMENTATIONS))
    assert set(settings.objective.options["augment"]) == set(AUGMENTATIONS)
    encoder = pretrain(millivolts, tmp_path, settings.replace(warmup_epochs=0, validation=0.3), progress=False)
    assert encoder.leads == millivolts.leads


def test_finetuning_knows_the_leads_too(millivolts: Archive) -> None:
    torch.manual_seed(0)
    encoder = Encoder("xresnet1d10", {"width": 8}, millivolts.settings)
    rows, targets = np.arange(8), (np.arange(8) % 2)[:, None].astype(np.float32)
    task = create_task("arrhythmia", ("odd",))
    settings = FinetuneSettings(
        steps=1, head="zero", evaluations=1, crop=None, augment=dict.fromkeys(KEEPS_LIMB_LEADS, STRENGTH)
    )
    seen: list[Tensor] = []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if type(module) is type(encoder.backbone) and module.training:
            seen.append(inputs[0])

    handle = register_module_forward_pre_hook(watch)
    try:
        finetune(encoder, task, millivolts, (rows, targets), (rows, targets), settings)
    finally:
        handle.remove()
    assert (limb_errors(torch.cat(seen)) < 0.01).all()
    assert torch.cat(seen).abs().max() > 0
