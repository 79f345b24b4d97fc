"""Stand-ins for libraries that help does not need.

Options are the arguments of constructors, and their documentation stands in docstrings: to tell of them, modules have
to be imported, but nothing that these compute with. While stand-ins are in place, ``import torch`` gives a module whose
every attribute is an empty class, as Sphinx does for documentation (``autodoc_mock_imports``). A process in which they
are in place can do nothing but tell; where it cannot even do that, it begins anew without them.
"""

from __future__ import annotations

import os
import sys
from abc import ABCMeta
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any, NoReturn

# What takes long to import. Constants that modules compute with NumPy become stand-ins too; no default is one of them.
LIBRARIES = frozenset(
    {
        *(
            "torch",
            "pytorch_lightning",
            "timm",
            "lightly",
            "torchvision",
            "captum",
            "einops",
            "safetensors",
        ),
        *("numpy", "scipy", "sklearn", "pandas", "pyarrow", "matplotlib", "jinja2", "wandb", "wfdb", "pydicom", "h5py"),
        *("filelock", "onnx", "onnxscript", "onnxruntime"),
    }
)
_ASIDE = "SSL_ECG_NO_STAND_INS"


class _StandIn(ABCMeta):
    """Type of stand-ins: what is asked of one, or what it is called with, gives another; it is no base of a class."""

    def __new__(cls, name: str, bases: tuple[type, ...], names: dict[str, Any]) -> Any:
        """Make a stand-in; where one is among the bases, a class without it."""
        if real := tuple(base for base in bases if not isinstance(base, _StandIn)) or bases:
            return ABCMeta(name, () if real is bases else real, names)
        return super().__new__(cls, name, (), names)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _StandIn(name, (), {})

    def __call__(cls, *given: Any, **named: Any) -> Any:
        is_decorator = len(given) == 1 and isinstance(given[0], FunctionType | type)
        return given[0] if is_decorator else _StandIn(cls.__name__, (), {})

    def __getitem__(cls, _: Any) -> Any:
        return cls

    def __setitem__(cls, _: Any, value: Any) -> None:
        """Keep nothing."""

    __neg__ = __abs__ = __invert__ = lambda cls: cls
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __getitem__
    __truediv__ = __rtruediv__ = __matmul__ = __rmatmul__ = __pow__ = __rpow__ = __getitem__


class _Module(ModuleType):
    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        setattr(self, name, made := _StandIn(name, (), {}))
        return made


class _Finder:
    """Finds stand-ins of ``LIBRARIES``; it is its own loader."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Find a stand-in for a library or a module of one."""
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] in LIBRARIES else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return an empty module."""
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Put nothing into it."""


_FINDER = _Finder()


def put_in_place() -> None:
    """Have all ``LIBRARIES`` replaced from here on, unless this process began anew for want of them, or uses them."""
    if _ASIDE not in os.environ and LIBRARIES.isdisjoint(sys.modules):
        sys.meta_path.insert(0, _FINDER)


def in_place() -> bool:
    """Say whether stand-ins may have been imported."""
    return _FINDER in sys.meta_path


def begin_anew() -> NoReturn:
    """Run the command of this process again, without stand-ins."""
    os.environ[_ASIDE] = "yes"
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
