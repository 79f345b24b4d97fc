"""Model cards: what a stranger must know before using the weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssl_ecg.backbones import Encoder
from ssl_ecg.labels.splits import Splits
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.tasks import Classifier

if TYPE_CHECKING:
    from ssl_ecg.training.finetune_settings import FinetuneSettings

_CARD = """# ECG encoder: {backbone}, pretrained with {objective}

Made by `ssl_ecg`. Load it with `ssl_ecg.load_encoder(folder)`; it maps signals [batch, {leads} leads, {samples}
samples] to [batch, {width}] features.

| | |
|---|---|
| leads | {lead_names} |
| sampling rate | {rate:g} Hz, {duration:g} s |
| filters | band-pass {band} Hz, mains {mains} |
| normalisation | {normalise} |
| parameters | {parameters:,} |
| records | {training_records:,} for training, {validation_records:,} for the validation loss |
| incomplete | {short_records:,} records are shorter than {duration:g} s, {records_lacking_leads:,} lack leads; what \
was not recorded counts for nothing |
| patients | {patients:,} |
| held out | {held_out_records:,} records of patients that pretraining did not see |
| epochs | {epochs_run} run; these are the weights after epoch {epoch} (counted from 0) |
| training steps | {seconds:.0f} s |

Metrics at that epoch: {metrics}.

## Limits
No label was used, and nothing here says what these features are worth for a clinical question: run `ssl-ecg compare` on
your own labels before use. The signals of other leads, rates, lengths or filters are refused. The weights may remember
the patients they were trained on; `config.json` keeps hashes of their ids so that testing on them can be refused.

## Settings
```json
{settings}
```
"""

_FACTS = (
    "parameters",
    "training_records",
    "validation_records",
    "patients",
    "held_out_records",
    "short_records",
    "records_lacking_leads",
    "epochs_run",
    "epoch",
    "seconds",
)


def pretraining_card(encoder: Encoder) -> str:
    """Return the model card of a freshly pretrained encoder, as Markdown."""
    origin, signal = encoder.origin, encoder.signal
    return _CARD.format(
        backbone=encoder.name,
        objective=origin["settings"]["objective"],
        leads=len(signal.leads),
        lead_names=", ".join(signal.leads),
        samples=signal.samples,
        width=encoder.width,
        rate=signal.sampling_rate,
        duration=signal.duration,
        band="none" if signal.band is None else f"{signal.band[0]:g} to {signal.band[1]:g}",
        mains="not filtered" if signal.mains is None else f"stopped at {signal.mains:g} Hz",
        normalise=signal.normalise,
        metrics=", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in origin["metrics"].items()),
        settings=json.dumps(origin["settings"], indent=1),
        **{name: origin[name] for name in _FACTS},
    )


_FINETUNED = """# ECG classifier: {task}, {backbone}

Made by `ssl_ecg` {start}. Load it with `ssl_ecg.tasks.load_classifier(folder)`: signals [batch, {leads} leads,
{samples} samples] in, logits out, which its `task.scores` turns into scores; `ssl_ecg.load_encoder(folder)` gives its
encoder alone.
{simulated}
| outcome | positives in training | in validation | in test |
|---|---|---|---|
{classes}

Records (patients): training {train}, validation {validation}, test {test}.{seen} The evaluation with the best
validation score was kept (step {step:.0f}); test was scored once, with that one.

| test metric | value | 95 % interval over patients |
|---|---|---|
{metrics}

{figures}## Limits
These numbers hold for records from where the test records come from. The scores were not calibrated afterwards.
Thresholds, where the task has any, were tuned on validation. This is not a medical device.

## Settings
```json
{settings}
```
"""

_SIMULATED = "\n**The outcomes are simulated**: these numbers say nothing of patients.\n"

_SEEN = " **{:.0f} test records have ids of patients that the encoder had learned from.**"


def finetuning_card(
    model: Classifier,
    settings: FinetuneSettings,
    metrics: Mapping[str, float],
    labels: LabelTable,
    splits: Splits,
    scratch: bool,
    figures: Sequence[str] = (),
) -> str:
    """Return the model card of a finetuned classifier, as Markdown.

    Args:
        model: what was made.
        settings: how.
        metrics: of the test records; an interval lies under the names with ``_low`` and ``_high``.
        labels: for the counts.
        splits: of them.
        scratch: whether it started from random weights.
        figures: names of the figures beside the card.
    """
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    positives = [np.nansum(labels.outcome[index], axis=0).astype(int) for index in parts.values()]
    return _FINETUNED.format(
        task=model.task.name,
        backbone=model.encoder.name,
        simulated=_SIMULATED if labels.simulated else "",
        start="from random weights" if scratch else "from a pretrained encoder",
        leads=len(model.encoder.leads),
        samples=model.encoder.samples,
        classes="\n".join(f"| {name} | {a} | {b} | {c} |" for name, a, b, c in zip(labels.outcomes, *positives)),
        step=metrics["step"],
        seen=_SEEN.format(seen) if (seen := metrics.get("records_of_seen_patients")) else "",
        metrics="\n".join(
            f"| {name} | {value:.3f} | {_interval(metrics[f'{name}_low'], metrics[f'{name}_high'])} |"
            for name, value in metrics.items()
            if f"{name}_low" in metrics
        ),
        figures="".join(f"![{Path(name).stem.replace('_', ' ')}]({name})\n\n" for name in figures),
        settings=json.dumps({**asdict(settings), "task": dict(model.task.options)}, indent=1),
        **{part: f"{len(index):,} ({len(np.unique(labels.patient[index])):,})" for part, index in parts.items()},
    )


def _interval(low: float, high: float) -> str:
    return "too few patients" if math.isnan(low) else f"{low:.3f} to {high:.3f}"
