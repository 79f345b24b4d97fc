"""What somebody else made, beside ours: an encoder in its folder, or a function that scores ECGs without labels."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.comparison.arms import EXTERNAL, EXTERNAL_PROBE, Outcome
from ssl_ecg.labels.splits import Splits
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import sha256
from ssl_ecg.tasks import Task

BATCH = 256

Scorer = Callable[[NDArray[np.float32], float, Sequence[str]], Any]
"""``score(signal, sampling_rate, leads)`` of signals float32 [n, L, T] in millivolts, where what was not recorded is 0,
their rate in Hz and the names of their leads: scores [n, C], a column per class of the label table, in its order; more
is more likely."""


class External:
    """What ``external=`` names: an encoder, of whose frozen features probes are fitted, or a function.

    Args:
        given: encoder folder, or ``module:function``; the module is looked for in the working folder too.

    Raises:
        ValueError: neither.
        FileNotFoundError: no encoder in the folder.
    """

    def __init__(self, given: str) -> None:
        self.given = given
        self.encoder: Encoder | None = None
        self.function: Scorer | None = None
        module, colon, name = given.rpartition(":")
        if Path(given).is_dir() or not colon:
            self.encoder = load_encoder(given)
        else:
            self.function = _imported(given, module, name)
        self._known: NDArray[np.float32] | None = None

    @property
    def arm(self) -> str:
        """What the arm is called."""
        return EXTERNAL_PROBE if self.function is None else EXTERNAL

    @cached_property
    def about(self) -> dict[str, str]:
        """What tells it from others, JSON-ready: a hash of the encoder's weights, or of the function's file."""
        if self.function is None:
            return {"external": sha256(Path(self.given) / "model.safetensors")[:16]}
        source = inspect.getsourcefile(self.function)
        return {"external": sha256(Path(source))[:16] if source else self.given}

    def scored(self, archive: Archive, labels: LabelTable, splits: Splits, task: Task) -> Outcome:
        """Score validation and test with the function; every record of the table is scored once, at the first call.

        Raises:
            ValueError: scores that are no finite numbers [n, C].
        """
        if self._known is None:
            starts = range(0, len(labels.rows), BATCH)
            self._known = np.concatenate([self._scores(archive, labels.rows[s : s + BATCH], task) for s in starts])
        validation = self._known[splits.validation]
        found = task.evaluate(labels.targets[splits.validation], validation)
        return Outcome(
            scores=self._known[splits.test],
            validation_scores=validation,
            validation=found[task.selection.name],
            chosen={},
            curve=[],
            undetermined=[],
        )

    def _scores(self, archive: Archive, rows: NDArray[np.int64], task: Task) -> NDArray[np.float32]:
        assert self.function is not None
        scores = np.asarray(self.function(archive.read(rows).signal, archive.sampling_rate, archive.leads), np.float32)
        wanted = (len(rows), len(task.classes)) if task.of_labels else (len(rows), *scores.shape[1:2])
        if scores.shape != wanted or not np.isfinite(scores).all():
            raise ValueError(
                f"external={self.given!r}: gave {scores.shape} for {len(rows)} records, or what is no number; it must "
                f"give finite scores [n, C], C = {len(task.classes)}: {', '.join(task.classes)}"
            )
        return scores


def _imported(given: str, module: str, name: str) -> Scorer:
    sys.path.insert(0, str(Path.cwd()))  # as ``python -m`` does
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # somebody else's module: whatever it raises, say whose it is
        raise ValueError(
            f"external={given!r}: cannot be imported ({type(error).__name__}: {error}); give the folder of an "
            "encoder, or module:function"
        ) from error
    finally:
        sys.path.pop(0)
    if not callable(function):
        raise ValueError(f"external={given!r}: is no function; give module:function")
    return function
