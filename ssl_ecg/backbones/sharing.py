"""What is taken out of an encoder or model folder before it is given away."""

from __future__ import annotations

from pathlib import Path

from ssl_ecg.backbones.encoder import read_config
from ssl_ecg.runs import write_json


def strip_patients(folder: str | Path) -> int:
    """Take the hashes of the patients and ECGs that were learned from out of an encoder or model folder, for good.

    Nothing else changes. Whoever uses the folder then can test on these patients without being told. The predictions
    that ``finetune``, ``probe`` and ``evaluate`` leave beside a model name its test records; give away
    ``config.json``, ``model.safetensors`` and, of a model, ``head.safetensors`` and ``task.json`` alone.

    Args:
        folder: of the encoder or model.

    Returns:
        How many hashes of patients there were.

    Raises:
        FileNotFoundError: there is no encoder.
        ValueError: its config is damaged or of another version.
    """
    config = read_config(folder)
    count, origin = len(config["patients"]), config["origin"]
    for name in ("patients_digest", "sites"):
        origin.pop(name, None)
    write_json(Path(folder) / "config.json", {**config, "patients": [], "ecgs": []})
    return count
