"""Let timm, lightly and Lightning import beside a CPU build of torch.

The registry wheel of torchvision for Linux is built for CUDA. Beside a CPU-only torch its compiled operators do
not load, and ``import torchvision`` then fails while it registers fake kernels for operators that do not exist
(pytorch/vision#9085). Nothing in this package calls them, so declaring their schemas is enough.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path

OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def operators_load() -> bool:
    """Say whether torchvision is absent (nothing to mend) or its compiled operators load into this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    libraries = sorted(Path(spec.origin).parent.glob("_C*.so")) + sorted(Path(spec.origin).parent.glob("_C*.pyd"))
    try:
        for library in libraries:
            ctypes.CDLL(str(library))
    except OSError:
        return False
    return bool(libraries)


def declare_missing_operators() -> list[str]:
    """Declare torchvision's operators where its compiled ones cannot be loaded.

    Returns:
        The names declared by this call; empty where nothing was missing.
    """
    import torch

    if operators_load():
        return []
    library = torch.library.Library("torchvision", "FRAGMENT")
    declared = []
    for name, schema in OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
            declared.append(name)
    _KEEP_ALIVE.append(library)
    return declared


class _BeforeTorchvision:
    """Declares what is missing when torchvision is about to be imported; until then not even torch is needed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Find nothing; see the class."""
        if name == "torchvision" and self in sys.meta_path:
            sys.meta_path.remove(self)
            declare_missing_operators()


def guard() -> None:
    """Have the operators declared before anybody imports torchvision from here on."""
    if not any(isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path):
        sys.meta_path.insert(0, _BeforeTorchvision())


# A torch Library removes its operators when it is collected.
_KEEP_ALIVE: list[object] = []
