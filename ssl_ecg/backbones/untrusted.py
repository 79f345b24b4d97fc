"""Looks at an encoder folder that somebody sent before anything that it asks for is built."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

MAX_JSON_BYTES = 200_000_000  # a million hashes of patients are 20 MB
MAX_NUMBER = 1_000_000  # of an option: no width, depth or length in samples is larger
MODULES_PER_TENSOR = 20


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object of a reasonable size.

    Args:
        path: of the file.
        what: it is, for messages.

    Raises:
        ValueError: it is too large, no JSON, nested without end, or no object.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"more than {MAX_JSON_BYTES:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path}: damaged {what} ({type(error).__name__}: {error})") from error
    return content


def check_options(path: Path, options: Any) -> dict[str, Any]:
    """Refuse options of a backbone that are no plain values, are absurdly large, or name a place outside the folder.

    Raises:
        ValueError: naming the option.
    """
    if not isinstance(options, dict):
        raise ValueError(f"{path}: backbone.options={type(options).__name__}: is no object")
    for name, value in _flat(options):
        if isinstance(value, float | int) and not abs(value) <= MAX_NUMBER:
            raise ValueError(
                f"{path}: backbone.options.{name}: larger than {MAX_NUMBER:,}; the file is damaged or forged"
            )
        if isinstance(value, str) and any(mark in value for mark in "/\\:"):
            raise ValueError(
                f"{path}: backbone.options.{name}: names a place outside the folder, which is never visited"
            )
    return options


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", each) for inner, each in _flat(value))
        elif isinstance(value, list):
            yield from _flat({f"{name}.{place}": each for place, each in enumerate(value)})
        else:
            yield name, value


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors that a safetensors file says it holds, from its header alone.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there are no weights")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: damaged weights ({error})") from error


_DRAWING = ("normal_", "uniform_", "trunc_normal_")


class _Unfilled(TorchFunctionMode):
    """Leaves tensors without memory as they are; to "draw" them, torch imports its compiler, which takes seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _DRAWING:
            drawn: Tensor = args[0] if args else kwargs["tensor"]
            return drawn if drawn.is_meta else func(*args, **kwargs)
        return func(*args, **kwargs)


_ALONE = ContextVar("alone", default=False)


@contextmanager
def nothing_from_elsewhere() -> Iterator[None]:
    """Have networks that are built within, also those inside others, refuse weights of a place that their options name.

    What a network starts from, such as weights of a hub, is no part of one that is trained.
    """
    before = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(before)


def check_start(weights: str | None) -> None:
    """Make sure that a network may start from weights, or starts from none.

    Raises:
        ValueError: nothing may come from elsewhere.
    """
    if weights is not None and _ALONE.get():
        raise ValueError("backbone.options.weights: is for new networks alone")


@contextmanager
def no_larger_than(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[None]:
    """Build networks without memory during the block, and stop at the first that is larger than these tensors.

    Raises:
        ValueError: it is.
    """
    values, modules = sum(map(math.prod, shapes.values())), 200 + MODULES_PER_TENSOR * len(shapes)
    built = {"values": 0, "tensors": 0, "modules": 0}

    def count(limit: Mapping[str, int], **more: int) -> None:
        for name, number in more.items():
            built[name] += number
            if built[name] > limit[name]:
                raise ValueError(f"it asks for more than the {limit[name]:,} {name} that the weights have")

    limits = {"values": values, "tensors": len(shapes), "modules": modules}

    def parameter(module: nn.Module, name: str, value: Tensor | None) -> None:
        if value is not None and name not in module._parameters:
            count(limits, values=value.numel(), tensors=1)

    hooks = (
        register_module_parameter_registration_hook(parameter),
        register_module_module_registration_hook(lambda *_: count(limits, modules=1)),
    )
    try:
        with torch.device("meta"), _Unfilled():
            yield
    finally:
        for hook in hooks:
            hook.remove()


def check_shapes(path: Path, module: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights that are not those of a network, before they are read.

    Raises:
        ValueError: naming some that are missing, not expected, or of another shape.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = [f"lacks {name}" for name in expected if name not in shapes]
    found += [f"has {name}, which the network has not" for name in shapes if name not in expected]
    found += [
        f"{name} is {shapes[name]}, the network's {shape}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise ValueError(f"{path}: the weights do not fit the config: {'; '.join(found[:3])}{more}")


def finite_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        ValueError: a value is not finite, or the file is damaged.
    """
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: damaged weights ({error})") from error
    for name, tensor in weights.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{path}: {name} holds values that are not finite; train again with a lower learning rate")
    return weights
