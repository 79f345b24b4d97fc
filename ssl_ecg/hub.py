"""Encoders and models on the Hugging Face hub: what of a folder leaves the site, and what of one that comes is taken.

Only the files that the contract of a folder names travel, without hashes of patients; predictions and reports stay.
What comes is looked at as any folder from a stranger (``ssl_ecg.backbones.untrusted``): nothing in it is run, and a
folder never sends anybody to the hub. ``HF_ENDPOINT``, ``HF_HOME`` and ``HF_TOKEN`` say which hub, where copies are
kept, and who asks.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from ssl_ecg.backbones import Encoder, load_encoder, strip_patients
from ssl_ecg.tasks import Classifier, load_model

ENCODER = ("config.json", "model.safetensors", "README.md")
MODEL = ("head.safetensors", "task.json", "typicality.safetensors")


def from_pretrained(name: str, revision: str | None = None, backbone: nn.Module | None = None) -> Encoder | Classifier:
    """Load an encoder or a model from the hub, in eval mode, on the CPU; what was fetched once is kept.

    Args:
        name: OWNER/NAME.
        revision: branch, tag or commit; only a commit stays what it is. None: the newest.
        backbone: a network of one's own, where it was made with one, as in ``load_encoder``.

    Returns:
        A model where the repository has ``task.json``, else an encoder.

    Raises:
        FileNotFoundError: the hub cannot be asked, or has no such repository, revision or encoder.
        ValueError: a file that is damaged or does not fit the others; or the hub's package is missing.
    """
    _need()
    from huggingface_hub import snapshot_download

    with _told(name):
        folder = snapshot_download(name, revision=revision, allow_patterns=[*ENCODER, *MODEL], library_name="ssl_ecg")
    return _loaded(Path(folder), backbone)


def push_to_hub(folder: str | Path, name: str, private: bool = True, backbone: nn.Module | None = None) -> str:
    """Give an encoder or model to the hub, without the hashes of the patients that it has learned from.

    Args:
        folder: that ``pretrain``, ``finetune``, ``distil`` or ``probe`` wrote; it stays as it is.
        name: OWNER/NAME; made where there is none, else what is there is replaced.
        private: whether a new repository is for its owner alone.
        backbone: as in ``from_pretrained``.

    Returns:
        The address of the commit.

    Raises:
        FileNotFoundError: there is no encoder, or the hub cannot be asked.
        ValueError: a damaged folder, or the hub's package is missing.
    """
    _need()
    from huggingface_hub import HfApi

    folder = Path(folder)
    _loaded(folder, backbone)
    with TemporaryDirectory() as held, _told(name):
        for file in (*ENCODER, *MODEL):
            if (folder / file).is_file():
                shutil.copyfile(folder / file, Path(held) / file)
        strip_patients(held)
        hub = HfApi(library_name="ssl_ecg")
        hub.create_repo(name, private=private, exist_ok=True)
        # A model's files would turn an encoder that replaces it into one.
        made = hub.upload_folder(repo_id=name, folder_path=held, delete_patterns=list(MODEL))
    return str(made.commit_url)


def _loaded(folder: Path, backbone: nn.Module | None) -> Encoder | Classifier:
    return (load_model if (folder / "task.json").is_file() else load_encoder)(folder, backbone)


def _need() -> None:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ValueError("hub: needs huggingface_hub; pip install 'ssl_ecg[hub]'")


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Say in one line what a hub refuses."""
    try:
        yield
    except ValueError:
        raise
    except Exception as error:  # the hub's package, and what it speaks through, raise many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise FileNotFoundError(
            f"name={name!r}: the hub does not give or take it ({reason}); check name, revision, network and token"
        ) from error
