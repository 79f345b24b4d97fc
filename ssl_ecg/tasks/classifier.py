"""A finetuned model: encoder, head and task in one module and one folder.

The folder is an encoder folder (``load_encoder`` reads it) with these files more:

    head.safetensors    weights of the head
    task.json           task name, classes and options, the kind of head, static inputs, and the windows that records
                        are cut into

and, where it was fitted, ``typicality.safetensors``: which records are unlike those that it learned from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import save
from torch import Tensor, nn

from ssl_ecg.backbones import Encoder, load_encoder, save_encoder
from ssl_ecg.backbones.joined import Joined
from ssl_ecg.backbones.untrusted import check_shapes, finite_weights, read_json, shapes_of
from ssl_ecg.runs import folder_of, whole_folder, write_atomically, write_json
from ssl_ecg.signals import Signals
from ssl_ecg.tasks.ensemble import EnsembleHead
from ssl_ecg.tasks.heads import Head, WideHead, make_head
from ssl_ecg.tasks.registry import create_task
from ssl_ecg.tasks.static_inputs import static_values
from ssl_ecg.tasks.task import Task
from ssl_ecg.tasks.typicality import Typicality
from ssl_ecg.tasks.windows import WindowSettings

TYPICALITY = "typicality.safetensors"


class Classifier(nn.Module):
    """Signals in millivolts in, logits out; the task turns them into scores.

    Args:
        encoder: features [B, D].
        task: gives the head.
        windows: how records are cut for their scores; by default not at all.
        head: "linear", or "hidden" with a layer before the task's, see ``make_head``; of an ensemble the arguments
            ``members`` and ``rule`` of its ``EnsembleHead``.
        static: names of static inputs into the last layer, see ``ssl_ecg.tasks.static_inputs``. All that gives logits
            then takes their values too, float [B, K], NaN where unknown.

    Raises:
        ValueError: an unknown head, a head or windows that do not fit the encoder, or the highest of scores that are
            not of classes.
    """

    def __init__(
        self,
        encoder: Encoder,
        task: Task,
        windows: WindowSettings | None = None,
        head: Head | Mapping[str, Any] = "linear",
        static: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.task = task
        self.windows = windows = windows or WindowSettings()
        self.kind_of_head, self.static = head, tuple(static)
        if isinstance(head, Mapping):
            if not isinstance(encoder.backbone, Joined) or set(head) != {"members", "rule"} or static:
                raise ValueError(f"head={dict(head)}: must be members and rule, of joined networks")
            self.head: nn.Module = EnsembleHead(task, encoder.backbone.widths, **head)
        else:
            self.head = WideHead(head, task, encoder.width, static) if static else make_head(head, task, encoder.width)
        self.typicality: Typicality | None = None
        windows.cut(torch.empty(0, 0, encoder.samples), torch.empty(0, dtype=torch.long), encoder.sampling_rate)
        if windows.seconds and (windows.aggregate, windows.over) == ("max", "scores") and not task.of_labels:
            raise ValueError(f"aggregate='max': the scores of task {task.name!r} are not of classes; choose 'mean'")

    def forward(
        self,
        signal: Tensor,
        recorded: Tensor | None = None,
        leads: Tensor | None = None,
        static: Tensor | None = None,
    ) -> Tensor:
        """Map records, as the encoder takes them, to logits [B, outputs]: of the whole, or of windows' features."""
        return self.logits(self.features(*self.encoder.prepare(signal, recorded, leads)), static)

    def logits(self, features: Tensor, static: Tensor | None = None) -> Tensor:
        """Map features [B, D] and static values [B, K], where the model has any, to logits [B, outputs].

        Raises:
            ValueError: the model has static inputs, and there are none.
        """
        if not self.static:
            return self.head(features)
        if static is None:
            raise ValueError(
                f"static=None: the model sees {', '.join(self.static)} too; give values [B, K], NaN where unknown"
            )
        return self.head(features, static)

    def scores(
        self,
        signal: Tensor,
        recorded: Tensor | None = None,
        leads: Tensor | None = None,
        static: Tensor | None = None,
    ) -> Tensor:
        """Map records, as the encoder takes them, to the task's scores [B, S], over windows where there are any."""
        if self.windows.seconds is None or self.windows.of_features:
            return self.task.scores(self(signal, recorded, leads, static))
        crops, present = self._cut(self.windows, *self.encoder.prepare(signal, recorded, leads))
        count = present.shape[1]
        of_each = None if static is None else static.repeat_interleave(count, 0)
        each = self.task.scores(self.logits(self.encoder.backbone(*crops), of_each))
        return self.windows.reduce(each.unflatten(0, (-1, count)), present)

    def judged(self, signal: Tensor, recorded: Tensor, leads: Tensor, static: Tensor | None = None) -> Tensor:
        """Map records to the task's scores, how typical they are, and how far the members of an ensemble disagree.

        Returns:
            [B, S + 1 + S]; the last columns are the standard deviations of the members' scores of the whole record.
            NaN where a model cannot tell.
        """
        prepared = self.encoder.prepare(signal, recorded, leads)
        features = self.features(*prepared)
        if self.windows.seconds is None or self.windows.of_features:
            scores = self.task.scores(self.logits(features, static))
        else:
            scores = self.scores(signal, recorded, leads, static)
        typical = torch.full_like(scores[:, :1], torch.nan)
        if self.typicality is not None:
            typical = self.typicality(features)[:, None]
        spread = torch.full_like(scores, torch.nan)
        if isinstance(self.head, EnsembleHead):
            spread = self.head.spread(features)
        return torch.cat([scores, typical, spread], 1)

    @torch.inference_mode()
    def predict(
        self,
        signal: ArrayLike | str | Path,
        recorded: ArrayLike | None = None,
        leads: ArrayLike | Sequence[str] | None = None,
        sampling_rate: float | None = None,
        static: Mapping[str, ArrayLike] | ArrayLike | None = None,
    ) -> NDArray[np.float32]:
        """Return the task's scores, float32 [n, S], of a file, of one ECG of any rate, or of a batch of an archive.

        Args:
            signal: path of a file in any format that is read, all of whose records are scored; or one ECG [leads,
                samples] in millivolts, with its ``sampling_rate`` and ``leads``; or a batch [B, L, T] as the encoder
                takes it.
            recorded: int64 [B], of a batch: samples of each that were recorded; None: all T.
            leads: names of the leads of one ECG; or bool [B, L], leads of a batch that were recorded; None: all L.
            sampling_rate: of one ECG, in Hz.
            static: of a model with static inputs: columns by name, such as ``{"age": 63, "sex": "female"}``, where what
                is not given is unknown, a file tells age and sex by itself, and the rhythm is measured; or, of a batch,
                values [B, K].

        Raises:
            RecordError: an ECG that cannot be scored, such as one that lacks a lead.
        """
        known: dict[str, Any] = {}
        if isinstance(signal, str | Path) or sampling_rate is not None:
            signal, recorded, leads, known = self._prepared(signal, leads, sampling_rate)
        one, two = (None if part is None else torch.as_tensor(part) for part in (recorded, leads))
        given = torch.as_tensor(signal, dtype=torch.float32)
        if not self.static:
            return self.scores(given, one, two).float().numpy()
        if static is None or isinstance(static, Mapping):
            _, length, there = self.encoder.prepare(given, one, two)
            described = pd.DataFrame({**known, **(static or {})}, index=range(len(given)))
            static = self.static_values(described, Signals(*(part.numpy() for part in (given, length, there))))
        return self.scores(given, one, two, torch.as_tensor(static, dtype=torch.float32)).float().numpy()

    def static_values(self, described: pd.DataFrame, signals: Signals) -> NDArray[np.float32]:
        """Return the static values [n, K] of records: by the columns that are known of them, and arrays of signals."""
        return static_values(self.static, described, signals, self.encoder.sampling_rate, self.encoder.leads)

    def _prepared(
        self, given: ArrayLike | str | Path, leads: Any, sampling_rate: float | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_], dict[str, Any]]:
        """Bring files and arrays into the form of the archive that the model was trained on, with ages and sexes."""
        from ssl_ecg.archive.prepared import prepare_record
        from ssl_ecg.records import Record, read_records

        if isinstance(given, str | Path):
            records = list(read_records(given))
        else:
            assert sampling_rate is not None
            names = self.encoder.leads if leads is None else tuple(map(str, leads))
            records = [Record(np.asarray(given, np.float32), sampling_rate, names)]
        parts = [prepare_record(record, self.encoder.signal) for record in records]
        signal, recorded, there = map(np.concatenate, zip(*parts))
        known = {name: [getattr(record, name) for record in records] for name in ("age", "sex")}
        return signal, recorded, there, known

    def features(self, signal: Tensor, recorded: Tensor, leads: Tensor) -> Tensor:
        """Map normalised records, or crops of them in training, to what the head sees, [B, D].

        Args:
            signal: [B, L, T], normalised (``Encoder.prepare``).
            recorded: int64 [B], samples of each that were recorded.
            leads: bool [B, L], leads of each that were recorded.
        """
        crops, present = self._crops(signal, recorded, leads)
        return self.windows.reduce(self.encoder.backbone(*crops).unflatten(0, (-1, present.shape[1])), present)

    def steps(self, signal: Tensor, recorded: Tensor, leads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map the same to step features of W windows, or of one whole.

        Returns:
            Step features [B, W, N, D']; bool [B, W, N], those of what was recorded; bool [B, W], windows that are
            present.
        """
        crops, present = self._crops(signal, recorded, leads)
        steps, counted = self.encoder.backbone.forward_steps(*crops)
        if counted is None:
            counted = torch.ones(steps.shape[:2], dtype=torch.bool, device=steps.device)
        return steps.unflatten(0, (-1, present.shape[1])), counted.unflatten(0, present.shape), present

    def pool(self, steps: Tensor, counted: Tensor, present: Tensor) -> Tensor:
        """Pool what ``steps`` returns to what the head sees, [B, D]."""
        pooled = self.encoder.backbone.pool(steps.flatten(0, 1), counted.flatten(0, 1))
        return self.windows.reduce(pooled.unflatten(0, (-1, present.shape[1])), present)

    def _crops(self, signal: Tensor, recorded: Tensor, leads: Tensor) -> tuple[Signals, Tensor]:
        windows = self.windows if self.windows.of_features else WindowSettings()
        return self._cut(windows, signal, recorded, leads)

    def _cut(self, windows: WindowSettings, signal: Tensor, recorded: Tensor, leads: Tensor) -> tuple[Signals, Tensor]:
        """Return windows as a batch of B * W signals, and which are present [B, W]."""
        crops, recorded, present = windows.cut(signal, recorded, self.encoder.sampling_rate)
        leads = leads.repeat_interleave(present.shape[1], 0)
        return Signals(crops.flatten(0, 1), recorded.flatten(), leads), present


def save_classifier(model: Classifier, folder: str | Path, card: str) -> Path:
    """Write a finetuned model's folder, whole or not at all; files of the same names are replaced."""
    folder = Path(folder)
    with whole_folder(folder, last="config.json") as part:
        save_encoder(model.encoder, part, card)
        write_head(model, part)
        if model.typicality is not None:
            known = {name: tensor.cpu().contiguous() for name, tensor in model.typicality.state_dict().items()}
            write_atomically(part / TYPICALITY, save(known))
    return folder


def write_head(model: Classifier, folder: str | Path) -> None:
    """Write what makes an encoder's folder that of this model: the weights of its head, and its task."""
    head = {name: tensor.detach().cpu().contiguous() for name, tensor in model.head.state_dict().items()}
    task = {
        "task": model.task.name,
        "classes": list(model.task.classes),
        "options": dict(model.task.options),
        "head": model.kind_of_head,
        "static": list(model.static),
        "windows": model.windows.to_dict(),
    }
    write_atomically(Path(folder) / "head.safetensors", save(head))
    write_json(Path(folder) / "task.json", task)


def load_model(folder: str | Path, backbone: nn.Module | None = None) -> Classifier:
    """Load a finetuned model, in eval mode, on the CPU; JSON and safetensors only.

    Args:
        folder: what ``save_classifier`` wrote; or "synthetic", the model that ships, which tells what simulated hearts
            show and never saw a label of a real ECG.
        backbone: a network of one's own, where the model was made with one, as in ``load_encoder``.

    Raises:
        FileNotFoundError: no finetuned model there.
        ValueError: a file that is damaged or does not fit the others; the message names it.
    """
    folder = folder_of(folder)
    if not (folder / "task.json").is_file():
        raise FileNotFoundError(f"folder={str(folder)!r}: no task.json, so this is not a finetuned model")
    path = folder / "task.json"
    try:
        created = read_json(path, "task")
        for key, names in (("classes", created.get("classes")), ("static", created.get("static", []))):
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"{key}: is no list of names")
            if len(set(names)) < len(names):
                raise ValueError(f"{key}: a name stands there twice")
        task = create_task(created["task"], created["classes"], **created.get("options", {}))
        windows = WindowSettings(**created.get("windows", {}))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no task can be made from this ({error!r})") from error
    encoder = load_encoder(folder, backbone)
    try:
        model = Classifier(encoder, task, windows, created.get("head", "linear"), created.get("static", ()))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    head = folder / "head.safetensors"
    check_shapes(head, model.head, shapes_of(head))
    model.head.load_state_dict(finite_weights(head))
    if (path := folder / TYPICALITY).is_file():
        shapes = shapes_of(path)
        model.typicality = Typicality(encoder.width, (shapes.get("distances") or (2,))[0])
        check_shapes(path, model.typicality, shapes)
        model.typicality.load_state_dict(finite_weights(path))
    return model.eval()
