"""Model cards: what a stranger must know before using the weights."""

from __future__ import annotations

import json

from ssl_ecg.backbones import Encoder

_CARD = """# ECG encoder: {backbone}, pretrained with {objective}

Made by `ssl_ecg`. Load it with `ssl_ecg.load_encoder(folder)`; it maps signals [batch, {leads} leads, {samples} samples] to
[batch, {width}] features.

| | |
|---|---|
| leads | {lead_names} |
| sampling rate | {rate:g} Hz, {duration:g} s |
| filters | band-pass {band} Hz, mains {mains} |
| normalisation | {normalise} |
| parameters | {parameters:,} |
| pretraining records | {training_records:,} for training, {validation_records:,} for the validation loss, from {patients:,} patients |
| held out | {held_out_records:,} records of patients that pretraining did not see |
| epochs | {epochs_run} run, weights of epoch {best_epoch} (lowest validation loss) |
| time | {seconds:.0f} s |

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
        **{
            name: origin[name]
            for name in (
                "parameters training_records validation_records patients held_out_records epochs_run best_epoch seconds"
            ).split()
        },
    )
