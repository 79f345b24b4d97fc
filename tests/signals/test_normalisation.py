"""Normalisation against NumPy, record by record, on what was recorded alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssl_ecg.signals.normalisation import normalise, recorded_mask


def by_record(signal: np.ndarray, recorded: list[int], leads: list[list[bool]], how: str) -> np.ndarray:
    scaled = np.zeros_like(signal)
    for record, samples, there in zip(range(len(signal)), recorded, leads, strict=True):
        rows = np.flatnonzero(there)
        for group in [[row] for row in rows] if how == "lead" else [rows]:
            real = signal[record][group, :samples].astype(np.float64)
            if how == "none":
                scaled[record][group, :samples] = real
            elif real.size and np.ptp(real):
                scaled[record][group, :samples] = (real - real.mean()) / real.std()
    return scaled


@given(
    offset=st.floats(-5, 5),
    scale=st.floats(0.01, 10),
    seed=st.integers(0, 100),
    recorded=st.lists(st.just(1) | st.integers(8, 200), min_size=4, max_size=4),
    how=st.sampled_from(["lead", "record", "none"]),
)
def test_every_record_is_scaled_as_numpy_scales_what_was_recorded(
    offset: float, scale: float, seed: int, recorded: list[int], how: str
) -> None:
    rng = np.random.default_rng(seed)
    signal = (offset + scale * rng.standard_normal((4, 3, 200))).astype(np.float32)
    leads = [[True] * 3, [True, False, True], [True] * 3, [False, False, True]]
    scaled = normalise(torch.from_numpy(signal), torch.tensor(recorded), torch.tensor(leads), how)
    assert scaled.dtype == torch.float32
    np.testing.assert_allclose(scaled.numpy(), by_record(signal, recorded, leads, how), atol=2e-5 * (1 + 5 / scale))


def test_zeros_that_were_recorded_count() -> None:
    signal = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 2, 100)).astype(np.float32)) + 3
    signal[:, :, 60:] = 0
    flat_end, short = normalise(signal, torch.tensor([100, 60]), torch.ones(2, 2, dtype=torch.bool), "lead")
    assert flat_end.std(correction=0) == pytest.approx(1, abs=1e-5)
    assert (flat_end[:, 60:] < -0.5).all()
    assert short[:, :60].std(1, correction=0).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert not short[:, 60:].any()
    dead = torch.randn(1, 2, 100) + 3
    dead[0, 1] = 0
    both, one = (
        normalise(dead, torch.tensor([100]), torch.tensor([[True, there]]), "record")[0, 0] for there in (True, False)
    )
    torch.testing.assert_close(one, (dead[0, 0] - dead[0, 0].mean()) / dead[0, 0].std(correction=0))
    assert (both - one).abs().max() > 0.5


@pytest.mark.parametrize("how", ["lead", "record", "none"])
def test_what_was_not_recorded_becomes_zero_whatever_it_held(how: str) -> None:
    signal, recorded, leads = torch.randn(2, 3, 50), torch.tensor([50, 20]), torch.tensor([[True, False, True]] * 2)
    other = signal.where(recorded_mask(signal, recorded, leads), 7.0)
    scaled = normalise(signal, recorded, leads, how)
    assert torch.equal(scaled, normalise(other, recorded, leads, how))
    assert not scaled[:, 1].any()
    assert not scaled[1, :, 20:].any()
    assert scaled[0, 2].any()
    if how == "none":
        assert torch.equal(scaled[0, 0], signal[0, 0])


def test_constant_leads_become_zeros_and_other_ways_are_refused() -> None:
    signal = torch.stack([torch.full((1000,), 1.2345), torch.sin(torch.arange(1000.0))])[None]
    whole = torch.tensor([1000]), torch.ones(1, 2, dtype=torch.bool)
    scaled = normalise(signal, *whole, "lead")
    assert not scaled[0, 0].any()
    assert scaled[0, 1].std() == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="normalise='max': unknown; choose one of lead, record, none"):
        normalise(signal, *whole, "max")


def test_autocast_does_not_round_the_signal() -> None:
    signal, recorded, leads = torch.randn(2, 3, 500) + 5, torch.tensor([500, 300]), torch.ones(2, 3, dtype=torch.bool)
    expected = normalise(signal, recorded, leads, "record")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(normalise(signal, recorded, leads, "record"), expected)
