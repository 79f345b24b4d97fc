"""Give the encoder that ships its findings: ``python pretrain/synthetic_findings.py FOLDER``.

Writes ``head.safetensors`` and ``task.json`` beside an encoder that was pretrained on simulated hearts, which stays as
it is: a linear probe of their conditions that 4,000 simulated ECGs teach, always the same ones. With these files the
folder is a model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ssl_ecg
from ssl_ecg.backbones import Encoder
from ssl_ecg.synthetic.simulator import CONDITIONS, meanings_of
from ssl_ecg.tasks import Classifier, create_task, write_head
from ssl_ecg.tasks.simulated_probe import probe_without_labels

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("folder", type=Path, help="encoder folder, such as ssl_ecg/encoders/synthetic")


def findings(encoder: Encoder) -> Classifier:
    """Return a model that tells the conditions of simulated hearts; without thresholds, for which it takes labels."""
    task = create_task("arrhythmia", CONDITIONS)
    model = Classifier(encoder, task)
    model.head = probe_without_labels(task, encoder, meanings_of(CONDITIONS)).as_layer()
    return model.eval()


if __name__ == "__main__":
    folder = parser.parse_args().folder
    write_head(findings(ssl_ecg.load_encoder(folder)), folder)
