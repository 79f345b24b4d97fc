"""What stands where nothing was recorded changes no feature, no score and no loss."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssl_ecg.backbones import Encoder
from ssl_ecg.objectives import create_objective
from ssl_ecg.signals.normalisation import recorded_mask
from ssl_ecg.tasks import Classifier, WindowSettings
from ssl_ecg.training import FinetuneSettings, PretrainSettings
from ssl_ecg.training.batches import ArchiveBatches, in_millivolts, normalised
from ssl_ecg.training.finetune_module import FinetuneModule
from ssl_ecg.training.pretraining import PretrainModule

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from conftest import Labelled

BACKBONES: dict[str, dict[str, Any]] = {
    "xresnet1d10": {"width": 8},
    "vit1d_lead": {"width": 12, "depth": 1, "samples": 500},
    "lead_wise": {"single": "xresnet1d10", "width": 4},
}
WINDOWS = {"whole": {}, "scores": {"seconds": 2.5}, "features": {"seconds": 2.5, "over": "features"}}


@pytest.fixture(params=BACKBONES)
def encoder(request: pytest.FixtureRequest, labelled: Labelled) -> Encoder:
    torch.manual_seed(0)
    return Encoder(request.param, BACKBONES[request.param], labelled.archive.settings).eval()


@pytest.fixture(scope="module")
def incomplete(labelled: Labelled) -> dict[str, Tensor]:
    """A batch of records of mixed lengths and lead sets, which all have lead I."""
    batch = in_millivolts(ArchiveBatches(labelled.archive, *labelled.train)[np.arange(8)])
    leads = torch.rand(8, 12, generator=torch.Generator().manual_seed(0)) < 0.7
    leads[:, 0] = True
    return {**batch, "recorded": torch.tensor([500, 320, 263, 500, 130, 410, 499, 250]), "leads": leads}


def filled(batch: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The batch with 0, and with 1e6 mV, where nothing was recorded."""
    real = recorded_mask(batch["signal"], batch["recorded"], batch["leads"])
    assert not real.all()
    return [{**batch, "signal": batch["signal"].where(real, value)} for value in (0.0, 1e6)]


@pytest.mark.parametrize("windows", WINDOWS)
@torch.inference_mode()
def test_features_and_scores(windows: str, encoder: Encoder, incomplete: dict[str, Tensor], labelled: Labelled) -> None:
    model = Classifier(encoder, labelled.task, WindowSettings(**WINDOWS[windows])).eval()
    nn.init.normal_(model.head.weight)
    for function in (encoder, model, model.scores):
        given = [[batch[name] for name in ("signal", "recorded", "leads")] for batch in filled(incomplete)]
        zeros, junk = (function(*signals) for signals in given)
        assert torch.equal(zeros, junk)
        assert not torch.allclose(zeros, function(given[0][0]))  # zeros that were recorded are another signal


@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("attention", [0.0, 0.3])
def test_the_loss_of_finetuning(
    windows: str,
    attention: float,
    encoder: Encoder,
    incomplete: dict[str, Tensor],
    labelled: Labelled,
    tiny_finetuning: FinetuneSettings,
) -> None:
    if attention and encoder.name == "lead_wise":
        pytest.skip("its features are no pooled steps")
    chosen = WindowSettings(**WINDOWS[windows])
    noisy = {"gaussian_noise": 0.2, "lead_masking": 0.3, "time_masking": 0.2, "crop_and_resize": 0.2}
    settings = tiny_finetuning.replace(windows=chosen, attention=attention, crop=3.0, augment=noisy)
    model = Classifier(copy.deepcopy(encoder), labelled.task, chosen).eval()
    nn.init.normal_(model.head.weight)
    module = FinetuneModule(model, settings)

    def loss(batch: dict[str, Tensor]) -> Tensor:
        torch.manual_seed(1)
        return module.training_step(batch, 0)

    zeros, junk = map(loss, filled(incomplete))
    assert torch.equal(zeros, junk)
    whole = {"recorded": torch.full((8,), 500), "leads": torch.ones(8, 12, dtype=torch.bool)}
    assert not torch.allclose(zeros, loss({**filled(incomplete)[0], **whole}))


@pytest.mark.parametrize("windows", WINDOWS)
@torch.inference_mode()
def test_attention_pools_the_steps_that_the_score_pools(
    windows: str, encoder: Encoder, incomplete: dict[str, Tensor], labelled: Labelled
) -> None:
    model = Classifier(encoder, labelled.task, WindowSettings(**WINDOWS[windows])).eval()
    signals = encoder.prepare(*(incomplete[name] for name in ("signal", "recorded", "leads")))
    torch.testing.assert_close(model.pool(*model.steps(*signals)), model.features(*signals))


@pytest.mark.parametrize(
    ("objective", "backbone"),
    [("cmsc", "xresnet1d10"), ("cmsc", "lead_wise"), ("cmsmlc", "lead_wise"), ("st_mem", "vit1d_lead")],
)
@pytest.mark.parametrize("crop", [None, 300])
def test_the_loss_of_pretraining(
    objective: str, backbone: str, crop: int | None, incomplete: dict[str, Tensor], labelled: Labelled
) -> None:
    torch.manual_seed(0)
    encoder = Encoder(backbone, BACKBONES[backbone], labelled.archive.settings)
    learned = create_objective(objective, encoder.backbone, 100.0).eval()
    module = PretrainModule(learned, PretrainSettings(), 1, 1, crop)

    def loss(batch: dict[str, Tensor]) -> Tensor:
        torch.manual_seed(1)
        return learned(module._cropped(normalised(batch, labelled.archive.settings.normalise)))["loss"]

    zeros, junk = map(loss, filled(incomplete))
    assert torch.equal(zeros, junk)
    whole = {"recorded": torch.full((8,), 500), "leads": torch.ones(8, 12, dtype=torch.bool)}
    assert not torch.allclose(zeros, loss({**filled(incomplete)[0], **whole}))


def test_a_lead_masked_in_pretraining_counts_as_recorded_and_one_never_recorded_does_not(
    incomplete: dict[str, Tensor], labelled: Labelled
) -> None:
    torch.manual_seed(0)
    encoder = Encoder("lead_wise", BACKBONES["lead_wise"], labelled.archive.settings).eval()
    backbone, seen = encoder.backbone, []
    learned = create_objective("cmsc", backbone, 100.0, augment={"lead_masking": 0.7}).eval()
    batch = normalised(incomplete, labelled.archive.settings.normalise)
    handle = backbone.register_forward_hook(lambda _, given, features: seen.append((given, features)))
    learned(batch)
    handle.remove()
    (signal, recorded, leads), features = seen[0]
    masked = (signal == 0).all(2) & leads
    assert torch.equal(leads, batch["leads"].repeat(2, 1))
    assert masked.any(1).all()
    for row in range(len(signal)):
        each = [
            backbone.single(signal[row, lead][None, None], recorded[row][None]) for lead in leads[row].nonzero()[:, 0]
        ]
        torch.testing.assert_close(features[row], torch.cat(each).mean(0))


@given(
    recorded=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    samples=st.integers(20, 60),
    width=st.integers(1, 20),
    share=st.floats(0.05, 1),
)
@settings(max_examples=200, deadline=None)
def test_windows_cover_what_was_recorded_and_nothing_else(
    recorded: list[int], samples: int, width: int, share: float
) -> None:
    known = torch.tensor(recorded).clamp(max=samples)
    clock = torch.arange(1.0, samples + 1).repeat(len(known), 2, 1)
    clock[:, 1] = 0  # zeros that were recorded, or were not: they say nothing
    stride = max(1, round(share * width))
    cut, counted, present = WindowSettings(seconds=width, stride=stride).cut(clock, known, 1.0)
    assert cut.shape == (len(known), present.shape[1], 2, width)
    for windows, counts, there, length in zip(cut, counted.tolist(), present, known.tolist(), strict=True):
        assert counts == [min(width, length)] * len(there)
        shown = windows[there][:, 0, : min(width, length)]
        assert torch.equal(shown.flatten().unique(), torch.arange(1.0, length + 1))  # all of the record, and no more
        starts = shown[:, 0]
        assert len(starts.unique()) == len(starts) == 1 + max(0, -(-(length - width) // stride))
