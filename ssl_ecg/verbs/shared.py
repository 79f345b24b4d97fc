"""What the verbs share: how data are opened, and where settings come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from ssl_ecg.archive import Archive, open_archive
from ssl_ecg.backbones import Encoder, load_encoder

ArchiveLike = Archive | str | Path
EncoderLike = Encoder | str | Path
TableLike = pd.DataFrame | str | Path
S = TypeVar("S")

RECORDS = ("all", "last")


def check_records(records: str) -> None:
    """Refuse to take other records of a patient than all, or the last."""
    if records not in RECORDS:
        raise ValueError(f"records={records!r}: choose one of {', '.join(RECORDS)}")


def config_folder() -> Path:
    """Return the folder of the YAML files: inside an installed package, beside it in a source checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"configs: found neither in {package} nor in {package.parent}; reinstall ssl_ecg")


def shipped_options(group: str, name: str) -> dict[str, Any]:
    """Return the options in ``configs/group/name.yaml``, none where there is no such file."""
    from omegaconf import OmegaConf

    path = config_folder() / group / f"{name}.yaml"
    options: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    return {key: value for key, value in options.items() if key != "name"}


def settings_from(kind: type[S], settings: S | None, options: Mapping[str, Any]) -> S:
    """Return the settings given as a whole, or made from single options; never a mixture that drops some."""
    if settings is None:
        return kind(**options)
    if options:
        raise TypeError(f"settings and {', '.join(options)}: give all settings at once, or single ones by name")
    return settings


def encoder_for(
    archive: ArchiveLike,
    encoder: EncoderLike | None,
    backbone: str | None,
    options: Mapping[str, Any] | None,
    seed: int,
) -> Encoder:
    """Return the encoder, loaded where its folder is given; None: a new network for the archive's signals.

    Args:
        archive: signals that a new network is for.
        encoder: the encoder, its folder, or None.
        backbone: name of the new network; that of ``pretrain`` by default.
        options: of the backbone; those not given are those of ``configs/``.
        seed: of the random weights, which are those that ``pretrain`` starts from.

    Raises:
        ValueError: a backbone for an encoder that has one.
    """
    from ssl_ecg.training import PretrainSettings
    from ssl_ecg.training.engine import seed_step

    if encoder is None:
        name = backbone or PretrainSettings.backbone
        seed_step(seed, 0, stream=2)
        return Encoder(name, {**shipped_options("backbone", name), **(options or {})}, opened(archive).settings)
    if backbone is not None or options:
        raise ValueError(
            f"backbone={backbone!r}: the encoder has a network of its own; leave backbone out, or give none (None in "
            "Python) in place of the encoder"
        )
    return encoder if isinstance(encoder, Encoder) else load_encoder(encoder)


def opened(archive: ArchiveLike) -> Archive:
    """Return the archive, opened where its folder is given."""
    return archive if isinstance(archive, Archive) else open_archive(archive)
