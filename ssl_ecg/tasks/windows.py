"""Records as sliding windows, the protocol of PTB-XL (Strodthoff et al., IEEE JBHI 2021).

A network that was trained on crops sees crops of that length again, and what shows in one of them only is not averaged
away by the others: there, windows of 2.5 s every 1.25 s, and the highest score of each class.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from annotated_types import Gt
from pydantic import model_validator
from torch import Tensor

from ssl_ecg.settings import Settings


class WindowSettings(Settings):
    """How records are cut into windows."""

    seconds: Annotated[float, Gt(0)] | None = None
    """length of a window, or null for whole records; 2.5 is PTB-XL's protocol"""
    stride: Annotated[float, Gt(0)] = 1.25
    """seconds from one window to the next; the last window ends with the record, wherever that is. A record shorter
    than a window is one window"""
    aggregate: Literal["max", "mean"] = "max"
    """over the windows of a record"""
    over: Literal["scores", "features"] = "scores"
    """"scores" of the windows; or their "features", of which the head then sees the aggregate, in training as well (the
    bag of tricks of DSAIL-SNU, Computing in Cardiology 2020)"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.seconds is not None and self.stride > self.seconds:
            raise ValueError(f"stride={self.stride:g}: choose at most seconds={self.seconds:g}, which leaves no gap")
        return self

    @property
    def of_features(self) -> bool:
        """Whether windows meet before the head, so that they are part of the network."""
        return self.seconds is not None and self.over == "features"

    def cut(self, signal: Tensor, recorded: Tensor, sampling_rate: float) -> tuple[Tensor, Tensor, Tensor]:
        """Cut signals into windows of what was recorded; whole records are one window.

        Args:
            signal: [B, L, T].
            recorded: int64 [B], samples of each record that were recorded.
            sampling_rate: Hz.

        Returns:
            Windows [B, W, L, samples]; the recorded samples of each, int64 [B, W]; and bool [B, W]: which of them are
            present. A record of fewer windows than others repeats its last one.

        Raises:
            ValueError: records shorter than a window, or a stride below a sample.
        """
        if self.seconds is None:
            whole = torch.ones(signal.shape[0], 1, dtype=torch.bool, device=signal.device)
            return signal[:, None], recorded[:, None], whole
        total, width, stride = signal.shape[-1], round(self.seconds * sampling_rate), round(self.stride * sampling_rate)
        if width > total or stride < 1:
            raise ValueError(
                f"seconds={self.seconds:g}, stride={self.stride:g}: records have {total} samples of "
                f"{1 / sampling_rate:g} s; choose shorter windows, or a stride of a sample or more"
            )
        starts = torch.tensor([*range(0, total - width, stride), total - width], device=signal.device)
        last = (recorded - width).clamp(min=0)[:, None]
        # A window is present where the one before it did not reach the end of the record.
        present = torch.cat([torch.ones_like(last, dtype=torch.bool), starts[:-1] < last], dim=1)
        index = starts.minimum(last)[..., None] + torch.arange(width, device=signal.device)  # [B, W, samples]
        signal = signal[:, None].expand(-1, len(starts), -1, -1)
        windows = signal.gather(3, index[:, :, None].expand(-1, -1, signal.shape[2], -1))
        return windows, recorded.clamp(max=width)[:, None].expand_as(present), present

    def reduce(self, each: Tensor, present: Tensor) -> Tensor:
        """Return the aggregate [B, S] of what windows [B, W, S] say, over those that are present [B, W]."""
        if self.aggregate == "max":
            return each.masked_fill(~present[..., None], -torch.inf).amax(dim=1)
        return (each * present[..., None]).sum(dim=1) / present.sum(dim=1, keepdim=True)
