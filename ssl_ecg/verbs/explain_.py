"""What a model looks at in an ECG: heat maps on ECG paper, and shares of the beat and of the leads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from annotated_types import Gt

from ssl_ecg.archive import Archive
from ssl_ecg.registry import nearest
from ssl_ecg.runs import lock, whole_folder, write_csv
from ssl_ecg.signals import Signals
from ssl_ecg.verbs._given import opened
from ssl_ecg.verbs._records import RecordSettings, batches, computed, inputs_of, is_archive, refuse_other
from ssl_ecg.verbs.verb import console, verb

if TYPE_CHECKING:
    from torch import nn

    from ssl_ecg.tasks import Classifier

LAST = "shares.csv"


class VerbSettings(RecordSettings):
    """Which records and classes are explained, and how they are drawn."""

    records: tuple[str, ...] | None = None
    """their ids; null: the first ``limit``"""
    limit: Annotated[int, Gt(0)] = 8
    """records at most, where none are named"""
    classes: tuple[str, ...] | None = None
    """of the model; null: all. A model of survival has one map, of the risk"""
    layer: str | None = None
    """module of the network whose steps make the map, such as stages.0; null: the last steps, which in networks of
    large stride are too coarse to tell a P wave from its QRS complex"""
    format: Literal["png", "svg"] = "png"
    """of the figures"""


class _One(NamedTuple):
    record_id: str
    signals: Signals
    described: pd.DataFrame


def show(table: pd.DataFrame, model: str, source: str, out: str) -> None:
    """Print the shares."""
    console.print(table.drop(columns="figure").round(2).to_string(index=False))
    console.print(f"figures and {LAST} lie in {out}")


@verb(VerbSettings, show)
def explain_(
    model: str | Path | Classifier, source: str | Path | Archive, out: str | Path, *, settings: VerbSettings
) -> pd.DataFrame:
    """Draw what a model looks at on ECG paper, and say how much of it is on each part of the beat and each lead.

    Args:
        model: folder that ``finetune`` or ``probe`` wrote, or the model itself.
        source: a file, a folder of files in any format that ``ingest`` reads, or an archive.
        out: folder for a figure per record and class, and ``shares.csv``.
        settings: all settings at once, in place of single ones by name.

    Returns:
        One row per record and class: ``record_id``, ``class``, ``score``; shares of the Grad-CAM map ``P``, ``QRS``,
        ``ST``, ``T``, ``elsewhere``, blank where no beat was found; shares of the leads ``lead_NAME``; ``figure``, its
        file.

    Raises:
        FileNotFoundError: no model, no such source, or no recording in it.
        ValueError: a record, class or layer that is not there, or no record that can be used.
    """
    from ssl_ecg.explain.style import save_figure
    from ssl_ecg.tasks import load_model

    classifier = load_model(model) if isinstance(model, str | Path) else model
    classes, layer, out = _classes(classifier, settings.classes), _layer(classifier, settings.layer), Path(out)
    refuse_other(out)
    rows = []
    with lock(out), whole_folder(out, last=LAST) as part:
        for number, one in enumerate(_records(classifier, source, settings)):
            for name in classes:
                row, figure = _explained(classifier, one, name, layer)
                row["figure"] = f"{number:03d}_{_plain(one.record_id)}_{_plain(name)}.{settings.format}"
                save_figure(figure, part / row["figure"])
                rows.append(row)
        table = pd.DataFrame(rows)
        write_csv(part / LAST, table, float_format="%.6g")
    return table


def _classes(model: Classifier, wanted: Sequence[str] | None) -> list[str]:
    known = list(model.task.classes) if model.task.of_labels else ["risk"]
    for name in wanted or ():
        if name not in known:
            raise ValueError(f"classes={name!r}: the model has no such class; {nearest(name, known)}")
    return list(wanted or known)


def _layer(model: Classifier, name: str | None) -> nn.Module | None:
    if name is None:
        return None
    known = dict(model.encoder.backbone.named_modules())
    if name not in known:
        raise ValueError(f"layer={name!r}: the network has no such module; {nearest(name, sorted(known)[1:30])}")
    return known[name]


def _records(model: Classifier, source: str | Path | Archive, settings: VerbSettings) -> Iterator[_One]:
    """Yield the records to explain, each a batch of one.

    Raises:
        ValueError: one that is named is not there, or cannot be used; or none at all.
    """
    missing, rows, reasons, count = list(settings.records or ()), None, "", 0
    if is_archive(source):
        source = opened(source)
        ids = source.manifest["record_id"]
        rows = np.arange(min(len(source), settings.limit))
        if settings.records is not None:
            rows = np.flatnonzero(ids.isin(settings.records))
        known = ids.to_list()
    else:
        known = []
    for batch in batches(model.encoder, source, settings, rows):
        reasons = reasons or next((reason for reason in batch.reasons if reason), "")
        usable = [record_id for record_id, reason in zip(batch.record_ids, batch.reasons) if not reason]
        known += [] if rows is not None else usable
        for place, record_id in enumerate(usable):
            if record_id in missing:
                missing.remove(record_id)
            elif settings.records is not None:
                continue
            count += 1
            signals = Signals(*(each[[place]] for each in batch.signals))
            yield _One(record_id, signals, batch.described.iloc[[place]])
            if count == settings.limit and settings.records is None:
                return
    if missing:
        raise ValueError(f"records={missing[0]!r}: is not there, or cannot be used; {nearest(missing[0], known[:20])}")
    if not count:
        raise ValueError(f"source={str(source)!r}: no record can be used ({reasons or 'it holds none'})")


def _explained(model: Classifier, one: _One, name: str, layer: nn.Module | None) -> tuple[dict[str, Any], Any]:
    """Return the row of a record and class, and its figure."""
    import torch

    from ssl_ecg.explain import beat_shares, ecg_figure, grad_cam, lead_shares, r_peaks
    from ssl_ecg.explain.grad_cam import task_logits

    place = model.task.classes.index(name) if model.task.of_labels else None
    given = inputs_of(model, one.signals, one.described)
    tensors, beside = Signals(*map(torch.from_numpy, one.signals)), [torch.from_numpy(each) for each in given[3:]]

    def output(*signals: torch.Tensor) -> torch.Tensor:
        logits = model(*signals, *(each.expand(len(signals[0]), -1) for each in beside))
        return task_logits(model, logits).sum(1) if place is None else logits[:, place]

    signal, recorded, leads = tensors
    by_lead = model.encoder.backbone.rows > 1 and layer is None
    heat = grad_cam(model, signal, place, layer, by_lead, recorded, leads, *beside)[0].numpy()
    there, length = one.signals.leads[0], int(recorded[0])
    shown, heat = one.signals.signal[0][there, :length], heat[..., :length]
    rate, names = model.encoder.sampling_rate, [lead for lead, known in zip(model.encoder.leads, there) if known]
    peaks = r_peaks(shown, rate)
    parts = beat_shares(heat.reshape(-1, length).mean(0)[None], [peaks], rate).iloc[0]
    shares = lead_shares(output, *tensors)
    scores = computed(model, model.scores, given)
    score = float(model.task.predictions(scores)["risk_at_horizon"][0] if place is None else scores[0, place])
    row: dict[str, Any] = {"record_id": one.record_id, "class": name, "score": score}
    row |= {str(part): value if len(peaks) else np.nan for part, value in parts.items()}
    row |= {f"lead_{lead}": share for lead, share in zip(model.encoder.leads, shares)}
    drawn = heat[there] if by_lead else heat
    title = f"{one.record_id}   {name} {score:.3f}"
    return row, ecg_figure(shown, names, rate, drawn, bool(one.described["calibrated"].iloc[0]), title)


def _plain(name: str) -> str:
    """Return a part of a file name: no folder, no odd character, not too long."""
    return re.sub(r"[^\w-]+", "_", name)[-60:]
