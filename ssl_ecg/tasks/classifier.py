"""A finetuned model: encoder, head and task in one module and one folder.

The folder is an encoder folder (``load_encoder`` reads it) with two more files:

    head.safetensors    weights of the head
    task.json           task name, classes and options
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ssl_ecg.backbones import Encoder, load_encoder, save_encoder
from ssl_ecg.tasks.registry import Task, create_task


class Classifier(nn.Module):
    """Signal in, logits out; the task turns them into scores.

    Args:
        encoder: features [B, D].
        task: gives the head.
    """

    def __init__(self, encoder: Encoder, task: Task) -> None:
        super().__init__()
        self.encoder = encoder
        self.task = task
        self.head = task.head(encoder.width)

    def forward(self, signal: Tensor) -> Tensor:
        """Map signal [B, L, T] to logits [B, outputs]."""
        return self.head(self.encoder(signal))


def save_classifier(model: Classifier, folder: str | Path, card: str) -> Path:
    """Write a finetuned model's folder; files of the same names are replaced."""
    folder = save_encoder(model.encoder, folder, card)
    head = {name: tensor.detach().cpu().contiguous() for name, tensor in model.head.state_dict().items()}
    save_file(head, folder / "head.safetensors")
    task = {"task": model.task.name, "classes": list(model.task.classes), "options": dict(model.task.options)}
    (folder / "task.json").write_text(json.dumps(task, indent=1) + "\n", encoding="utf-8")
    return folder


def load_classifier(folder: str | Path) -> Classifier:
    """Load a finetuned model, in eval mode, on the CPU; JSON and safetensors only.

    Raises:
        FileNotFoundError: no finetuned model there.
        ValueError: a file that is damaged or does not fit the others; the message names it.
    """
    folder = Path(folder)
    if not (folder / "task.json").is_file():
        raise FileNotFoundError(f"folder={str(folder)!r}: no task.json, so this is not a finetuned model")
    path = folder / "task.json"
    try:
        created = json.loads(path.read_text(encoding="utf-8"))
        task = create_task(created["task"], created["classes"], **created.get("options", {}))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no task can be made from this ({error!r})") from error
    model = Classifier(load_encoder(folder), task)
    try:
        model.head.load_state_dict(load_file(folder / "head.safetensors"))
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder / 'head.safetensors'}: the weights do not fit the task: {error}") from error
    return model.eval()
