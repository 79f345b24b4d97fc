"""Changes of an ECG in time and space: batched, on the device, drawn from torch's global generator.

Each maps signal [B, L, T] to the same shape and type, all leads of a record alike in time, so that relations between
leads, such as III = II - I, are kept. What lies past the ``recorded`` samples [B] of a short record (None: all T were
recorded) never reaches those before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ssl_ecg.records import LEADS
from ssl_ecg.records.electrodes import DERIVATION, FIELD

DOWER_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""The independent leads from which the heart's vector is computed; the other four are sums of I and II."""


def crop_and_resize(signal: Tensor, share: float, recorded: Tensor | None = None) -> Tensor:
    """Cut a window out of every record, 1 - share to 1 of its length, and stretch it to the whole length.

    Random resized crops of Mehari and Strodthoff (Comput Biol Med 2022). Heart rate falls and intervals grow with it.
    """
    batch, _, samples = signal.shape
    length = 1 - share * torch.rand(batch, 1, device=signal.device)
    last = samples - 1 if recorded is None else recorded[:, None] - 1
    start = torch.rand(batch, 1, device=signal.device) * (1 - length) * last
    return _sample_at(signal, start + length * torch.arange(samples, device=signal.device))


def time_warp(signal: Tensor, change: float, sampling_rate: float, recorded: Tensor | None = None) -> Tensor:
    """Let time run faster and slower by up to ``change``, below 1, in a sine of 0.1 to 0.4 Hz; both ends stay.

    As heart rate follows breath (respiratory sinus arrhythmia: Hirsch, Bishop, Am J Physiol 1981); warping time as an
    augmentation is from Um et al. (ICMI 2017).
    """
    batch, _, samples = signal.shape
    time = torch.arange(samples, device=signal.device)
    speed = 2 * math.pi / sampling_rate * (0.1 + 0.3 * torch.rand(batch, 1, device=signal.device))  # radians a sample
    phase = 2 * math.pi * torch.rand(batch, 1, device=signal.device)
    depth = change * torch.rand(batch, 1, device=signal.device)
    # The integral of 1 + depth * cos(speed * t + phase): strictly rising.
    run = time + depth / speed * (torch.sin(speed * time + phase) - torch.sin(phase))
    last = torch.full_like(phase, samples - 1).long() if recorded is None else (recorded[:, None] - 1).clamp(min=0)
    return _sample_at(signal, run * (last / run.gather(1, last).clamp(min=1e-6)))


def vcg_rotation(signal: Tensor, angle: float, leads: Sequence[str], present: Tensor | None = None) -> Tensor:
    """Turn the heart in the chest by up to ``angle`` radians about an axis of any direction.

    As in 3KG (Gopal et al., ML4H 2021) the vectorcardiogram comes from the inverse of Dower's matrix (Dower et al.,
    Clin Cardiol 1980; Edenbrandt, Pahlm, J Electrocardiol 1988). Only its change goes back to the leads: what a dipole
    cannot explain is kept, and no rotation is no change. The coefficients hold for millivolts, or any unit common to
    all leads; leads that were z-scored one by one are mixed only roughly as a rotation would mix them. Where one of the
    eight independent leads was not recorded the vector is not known and the record stays as it is.

    Args:
        signal: [B, L, T].
        angle: largest angle in radians; drawn per record, uniformly.
        leads: names of the L leads; the eight of ``DOWER_LEADS`` must be there.
        present: bool [B, L], leads of each record that were recorded; None: all.
    """
    dower, inverse = (torch.from_numpy(matrix).float().to(signal.device) for matrix in dower_matrices(leads))
    turn = angle * torch.rand(len(signal), 1, 1, device=signal.device)
    if present is not None:
        turn = turn * present[:, [list(leads).index(lead) for lead in DOWER_LEADS]].all(1)[:, None, None]
    axis = torch.nn.functional.normalize(torch.randn(len(signal), 3, device=signal.device), dim=1)
    # Rodrigues: R - 1 = sin(turn) K + (1 - cos(turn)) K^2 with K x = axis cross x.
    cross = torch.linalg.cross(axis[:, None, :], torch.eye(3, device=signal.device)[None]).mT
    rotation = torch.sin(turn) * cross + (1 - torch.cos(turn)) * (cross @ cross)
    change = (dower @ rotation @ inverse).to(signal.dtype)  # [B, L, L]
    return signal + change @ signal


def dower_matrices(leads: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return Dower's matrix [L, 3], from the heart's vector to the leads, and its inverse [3, L].

    The inverse is the pseudoinverse on the independent leads (Edenbrandt, Pahlm 1988) and 0 on the other four.

    Raises:
        ValueError: an independent lead is missing.
    """
    if missing := [lead for lead in DOWER_LEADS if lead not in leads]:
        raise ValueError(
            f"leads={tuple(leads)}: vcg_rotation needs {', '.join(missing)} as well; name leads that include them, "
            "or leave it out"
        )
    dower = (DERIVATION @ FIELD)[[LEADS.index(lead) for lead in leads]]
    independent = [list(leads).index(lead) for lead in DOWER_LEADS]
    inverse = np.zeros((3, len(leads)))
    inverse[:, independent] = np.linalg.pinv(dower[independent])
    return dower, inverse


def _sample_at(signal: Tensor, position: Tensor) -> Tensor:
    """Interpolate signal [B, L, T] linearly at positions [B, T], in samples from 0 to T - 1."""
    last = signal.shape[-1] - 1
    before = position.long().clamp(0, max(last - 1, 0))
    weight = (position - before).clamp(0, 1).to(signal.dtype)[:, None]
    left, right = (
        signal.gather(2, index[:, None].expand_as(signal)) for index in (before, (before + 1).clamp(max=last))
    )
    return torch.lerp(left, right, weight.expand_as(left))
