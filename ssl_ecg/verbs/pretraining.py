"""The verb that learns without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_ecg.backbones import Encoder
from ssl_ecg.labels import SplitSettings
from ssl_ecg.verbs.shared import ArchiveLike, TableLike, opened, settings_from, shipped_options

if TYPE_CHECKING:
    from ssl_ecg.training import PretrainSettings


def pretrain(
    archive: ArchiveLike,
    out: str | Path,
    objective: str = "cmsc",
    *,
    settings: PretrainSettings | None = None,
    holdout: TableLike | None = None,
    task: str = "arrhythmia",
    task_options: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    split: SplitSettings | None = None,
    progress: bool = True,
    **options: Any,
) -> Encoder:
    """Pretrain a backbone on an unlabelled archive and write an encoder folder.

    Args:
        archive: the archive, or its folder.
        out: encoder folder; a killed run continues there.
        objective: name, see ``ssl_ecg.objectives.list_objectives()``.
        settings: all settings at once; otherwise give single ones by name. Options of the objective and of the backbone
            that are not given are those of ``configs/``, as on the command line.
        holdout: label table whose test patients, as ``split`` draws them, must not be seen. Give the same table,
            task and split to ``probe``, ``finetune`` and ``compare``; who tests is kept in the encoder folder.
        task: how ``holdout`` is read.
        task_options: options of the task.
        classes: columns of ``holdout``; all by default, or those that the task names.
        split: which records of ``holdout`` test.
        progress: show a progress bar.
        options: fields of ``ssl_ecg.training.PretrainSettings``; an unknown one is a TypeError.

    Returns:
        The encoder, in eval mode.
    """
    from ssl_ecg.tasks import read_task
    from ssl_ecg.training import PretrainSettings
    from ssl_ecg.training import pretrain as run
    from ssl_ecg.training.pretrain import kept_split

    archive = opened(archive)
    if settings is None:
        options = {"objective": objective, "backbone": PretrainSettings.backbone, **options}
        for group in ("objective", "backbone"):
            given = options.get(f"{group}_options", {})
            options[f"{group}_options"] = {**shipped_options(group, options[group]), **given}
    settings = settings_from(PretrainSettings, settings, options)
    rows = how = None
    if holdout is not None:
        labels, _ = read_task(task, holdout, archive, classes, task_options)
        splits = (split or SplitSettings()).split(labels, kept_split(out))
        rows, how = labels.rows[splits.test], splits.how
    return run(archive, out, settings, rows, progress, how)
