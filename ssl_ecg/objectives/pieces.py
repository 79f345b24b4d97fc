"""A batch that the network sees in pieces, so that memory is that of a piece and the loss that of the whole batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def in_pieces(network: Any, inputs: tuple[Tensor, ...], rows: int | None) -> Tensor:
    """Return a network's features [R, D] of inputs [R, ...], computed for so many rows at once.

    What the network computes on the way to them is dropped, and computed again in the backward pass, piece by piece
    (Chen et al. 2016, Training deep nets with sublinear memory cost), with the same dropout.

    Args:
        network: its batch norms, where it has any and trains, see a piece and not the batch.
        inputs: tensors with one row for each of R.
        rows: of a piece; None: all.
    """
    if rows is None or len(inputs[0]) <= rows:
        return network(*inputs)

    def again() -> tuple[Any, Any]:
        return nullcontext(), _statistics_kept(network)

    pieces = zip(*(each.split(rows) for each in inputs), strict=True)
    return torch.cat([checkpoint(network, *piece, use_reentrant=False, context_fn=again) for piece in pieces])


@contextmanager
def _statistics_kept(network: nn.Module) -> Iterator[None]:
    """Have batch norms see what they saw already without counting it a second time."""
    norms = [each for each in network.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    before = [(each.momentum, each.num_batches_tracked) for each in norms]
    for each in norms:
        each.momentum, each.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for each, (momentum, seen) in zip(norms, before, strict=True):
            each.momentum, each.num_batches_tracked = momentum, seen
