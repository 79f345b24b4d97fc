"""The facts of the model cards of pretrained encoders and finetuned models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssl_ecg.backbones import Encoder
from ssl_ecg.labels.splits import Splits
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import Table, model_card
from ssl_ecg.tasks import Classifier

UNKNOWN = "patients unknown: records are counted"

_LIMITS = """\
No label was used, and nothing here says what these features are worth for a clinical question: run `ssl-ecg compare` on
your own labels before use. The signals of other leads, rates, lengths or filters are refused. The weights may remember
the patients they were trained on; `config.json` keeps hashes of their ids under a key of the site that trained, so that
testing on them can be refused there."""

_CLASSIFIER_LIMITS = """\
These numbers hold for records from where the test records come from. The scores were not calibrated afterwards.
Thresholds, where the task has any, were tuned on validation. This is not a medical device."""


def pretraining_card(encoder: Encoder) -> str:
    """Return the model card of a freshly pretrained encoder, as Markdown."""
    origin, signal = encoder.origin, encoder.signal
    band = "none" if signal.band is None else f"{signal.band[0]:g} to {signal.band[1]:g}"
    mains = "not filtered" if signal.mains is None else f"stopped at {signal.mains:g} Hz"
    training, validation = (f"{origin[f'{part}_records']:,}" for part in ("training", "validation"))
    facts = [
        ("leads", ", ".join(signal.leads)),
        ("sampling rate", f"{signal.sampling_rate:g} Hz, {signal.duration:g} s"),
        ("filters", f"band-pass {band} Hz, mains {mains}"),
        ("normalisation", signal.normalise),
        ("parameters", f"{origin['parameters']:,}"),
        ("records", f"{training} for training, {validation} for the validation loss"),
        (
            "incomplete",
            f"{origin['short_records']:,} records are shorter than {signal.duration:g} s, "
            f"{origin['records_lacking_leads']:,} lack leads; what was not recorded counts for nothing",
        ),
        ("patients", UNKNOWN if origin["patients_unknown"] else f"{origin['patients']:,}"),
        ("started from", _start(origin)),
        ("held out", f"{origin['held_out_records']:,} records of patients that pretraining did not see"),
        (
            "epochs",
            f"{origin['epochs_run']} run; these are the weights after epoch {origin['epoch']} (counted from 0)",
        ),
        ("training steps", f"{origin['seconds']:.0f} s in {origin['precision']}"),
    ]
    metrics = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in origin["metrics"].items())
    about = (
        "Made by `ssl_ecg`. Load it with `ssl_ecg.load_encoder(folder)`; it maps signals "
        f"[batch, {len(signal.leads)} leads, {signal.samples} samples] to [batch, {encoder.width}] features."
    )
    return model_card(
        f"ECG encoder: {encoder.name}, pretrained with {origin['settings']['objective']['name']}",
        [about, Table(("", ""), facts), f"Metrics at that epoch: {metrics}."],
        _LIMITS,
        origin["settings"],
    )


def classifier_card(
    model: Classifier,
    settings: Mapping[str, Any],
    metrics: Mapping[str, float],
    labels: LabelTable,
    splits: Splits,
    start: str,
    figures: Sequence[str] = (),
) -> str:
    """Return the model card of a classifier, as Markdown.

    Args:
        model: what was made.
        settings: how.
        metrics: of the test records; an interval lies under the names with ``_low`` and ``_high``.
        labels: for the counts.
        splits: of them.
        start: what it began with, such as "from random weights".
        figures: names of the figures beside the card.
    """
    encoder = model.encoder
    unknown = labels.patients_unknown > 0
    parts = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    positives = [np.nansum(labels.outcome[index], axis=0).astype(int) for index in parts.values()]
    counts = [
        f"{part} {len(index):,}" + ("" if unknown else f" ({len(np.unique(labels.patient[index])):,})")
        for part, index in parts.items()
    ]
    seen = metrics.get("records_of_seen_patients")
    intervals = [
        (name, f"{value:.3f}", _interval(metrics[f"{name}_low"], metrics[f"{name}_high"]))
        for name, value in metrics.items()
        if f"{name}_low" in metrics
    ]
    return model_card(
        f"ECG classifier: {model.task.name}, {encoder.name}",
        [
            f"Made by `ssl_ecg` {start}. Load it with "
            f"`ssl_ecg.load_model(folder)`: signals [batch, {len(encoder.leads)} leads, {encoder.samples} "
            "samples] in, logits out, which its `task.scores` turns into scores; `ssl_ecg.load_encoder(folder)` gives "
            "its encoder alone.",
            *(["**The outcomes are simulated**: these numbers say nothing of patients."] if labels.simulated else []),
            *(
                [f"Its static inputs are {', '.join(model.static)}; what is unknown may be missing."]
                if model.static
                else []
            ),
            Table(
                ("outcome", "positives in training", "in validation", "in test"),
                list(zip(labels.outcomes, *positives)),
            ),
            f"Records ({UNKNOWN if unknown else 'patients'}): {', '.join(counts)}."
            + (f" **{seen:.0f} test records have ids of patients that the encoder had learned from.**" if seen else "")
            + f" {_chosen(metrics)}; test was scored once, with that one.",
            Table(("test metric", "value", f"95 % interval over {'records' if unknown else 'patients'}"), intervals),
        ],
        _CLASSIFIER_LIMITS,
        {**settings, "task": dict(model.task.options)},
        figures,
    )


def _chosen(metrics: Mapping[str, float]) -> str:
    """Say what validation chose."""
    if "step" in metrics:
        return f"The evaluation with the best validation score was kept (step {metrics['step']:.0f})"
    if "C" not in metrics:
        return "Several finished models were joined on validation"
    return f"Of the strengths of regularisation that with the best validation score was kept (C = {metrics['C']:g})"


def _interval(low: float, high: float) -> str:
    return "too few patients" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def _start(origin: Mapping[str, Any]) -> str:
    start = origin.get("start")
    if start is None:
        return "random weights"
    return f"an encoder pretrained with {start['objective']} (weights {start['weights']})"
