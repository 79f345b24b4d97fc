from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_ecg.records import LEADS
from ssl_ecg.views.geometry import DOWER_LEADS, crop_and_resize, dower_matrices, time_warp, vcg_rotation

# Edenbrandt and Pahlm (J Electrocardiol 1988), rows x, y, z; columns I, II, V1 to V6.
EDENBRANDT_PAHLM = np.array(
    [
        [0.156, -0.010, -0.172, -0.074, 0.122, 0.231, 0.239, 0.194],
        [-0.227, 0.887, 0.057, -0.019, -0.106, -0.022, 0.041, 0.048],
        [0.022, 0.102, -0.229, -0.310, -0.246, -0.063, 0.055, 0.108],
    ]
)


def with_clock(batch: int, samples: int) -> torch.Tensor:
    """A lead that counts samples, from which positions can be read, and one of noise: [B, 2, T]."""
    noise = torch.randn(batch, samples, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.stack([torch.arange(samples, dtype=torch.float64).expand(batch, samples), noise], 1)


def assert_interpolated(changed: torch.Tensor, signal: torch.Tensor) -> None:
    for clock, values, original in zip(changed[:, 0], changed[:, 1], signal[:, 1]):
        expected = np.interp(clock.numpy(), np.arange(len(original)), original.numpy())
        np.testing.assert_allclose(values.numpy(), expected, atol=1e-9)


@given(share=st.floats(0, 0.99), samples=st.integers(2, 300), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_crop_and_resize_reads_a_window_evenly_by_linear_interpolation(share: float, samples: int, seed: int) -> None:
    torch.manual_seed(seed)
    signal = with_clock(5, samples)
    changed = crop_and_resize(signal, share)
    assert_interpolated(changed, signal)
    clock = changed[:, 0]
    step = clock.diff(dim=1)
    assert clock.min() >= 0
    assert clock.max() <= samples - 1
    assert torch.allclose(step, step[:, :1], atol=1e-4)
    assert (step > 1 - share - 1e-4).all()
    assert (step < 1 + 1e-4).all()


def test_crop_and_resize_draws_all_lengths_and_places() -> None:
    torch.manual_seed(0)
    clock = crop_and_resize(with_clock(2000, 101), 0.4)[:, 0]
    length = (clock[:, -1] - clock[:, 0]) / 100
    assert float(length.mean()) == pytest.approx(0.8, abs=0.01)
    assert float(length.min()) == pytest.approx(0.6, abs=0.01)
    place = clock[:, 0] / (100 * (1 - length))
    assert float(place.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(place.std()) == pytest.approx(12**-0.5, abs=0.02)


@given(
    change=st.floats(0, 0.99),
    samples=st.integers(2, 400),
    rate=st.sampled_from([50.0, 100.0, 500.0]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=30, deadline=None)
def test_time_warp_runs_forward_from_end_to_end_by_linear_interpolation(
    change: float, samples: int, rate: float, seed: int
) -> None:
    torch.manual_seed(seed)
    signal = with_clock(5, samples)
    changed = time_warp(signal, change, rate)
    assert_interpolated(changed, signal)
    clock = changed[:, 0]
    assert (clock.diff(dim=1) > -1e-4).all()
    assert torch.allclose(clock[:, [0, -1]], torch.tensor([0.0, samples - 1], dtype=torch.float64), atol=1e-3)
    fastest = (1 + change) / (1 - change)  # of two times within a record
    assert (clock.diff(dim=1) < fastest + 1e-2).all()


def test_time_warp_changes_speed_smoothly_and_by_no_more_than_it_should() -> None:
    torch.manual_seed(0)
    speed = time_warp(with_clock(200, 6000), 0.2, sampling_rate=200)[:, 0].diff(dim=1)
    assert float(speed.amax()) == pytest.approx(1.2, abs=0.05)
    assert float(speed.amin()) == pytest.approx(0.8, abs=0.05)
    # No steeper than the steepest sine, of 0.4 Hz; half a second apart, where rounding does not matter.
    change = (speed[:, 100:] - speed[:, :-100]).abs().max()
    assert 0.8 * 0.2 * 2 * np.pi * 0.4 * 0.5 < change < 1.05 * 0.2 * 2 * np.pi * 0.4 * 0.5


def test_the_inverse_of_dowers_matrix_is_that_of_edenbrandt_and_pahlm() -> None:
    dower, inverse = dower_matrices(DOWER_LEADS)
    np.testing.assert_allclose(inverse, EDENBRANDT_PAHLM, atol=5.1e-4)  # published with three decimals
    np.testing.assert_allclose(EDENBRANDT_PAHLM @ dower, np.eye(3), atol=1e-3)
    np.testing.assert_allclose(inverse @ dower, np.eye(3), atol=1e-12)


@given(order=st.permutations(LEADS))
@settings(max_examples=10, deadline=None)
def test_dowers_matrices_follow_the_names_of_the_leads(order: list[str]) -> None:
    dower, inverse = dower_matrices(order)
    canonical, canonical_inverse = dower_matrices(LEADS)
    index = [LEADS.index(lead) for lead in order]
    np.testing.assert_array_equal(dower, canonical[index])
    np.testing.assert_allclose(inverse, canonical_inverse[:, index], atol=1e-12)
    np.testing.assert_allclose(inverse @ dower, np.eye(3), atol=1e-12)


def test_vcg_rotation_turns_the_vector_rigidly_and_keeps_what_no_dipole_explains() -> None:
    torch.manual_seed(0)
    angle = 0.5
    dower, inverse = (torch.from_numpy(matrix) for matrix in dower_matrices(LEADS))
    signal = torch.randn(500, 12, 50, dtype=torch.float64)
    changed = vcg_rotation(signal, angle, LEADS)
    before, after = inverse @ signal, inverse @ changed  # [B, 3, T]
    assert torch.allclose(changed - dower @ after, signal - dower @ before, atol=1e-5)
    rotation = after @ torch.linalg.pinv(before)
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand_as(rotation), atol=1e-4)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(500, dtype=torch.float64), atol=1e-4)
    turned = torch.arccos(((rotation.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1))
    assert turned.max() < angle + 1e-3
    assert float(turned.mean()) == pytest.approx(angle / 2, abs=0.03)
    # Axes of all directions: no axis of the body is turned about more than another.
    skew = rotation - rotation.mT
    axis = torch.nn.functional.normalize(torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], 1))
    assert torch.allclose(axis.mean(0), torch.zeros(3, dtype=torch.float64), atol=0.1)
    assert torch.allclose(axis.square().mean(0), torch.full((3,), 1 / 3, dtype=torch.float64), atol=0.06)


def test_eight_leads_turn_as_they_do_among_twelve() -> None:
    signal = torch.randn(4, 12, 30)
    eight = [LEADS.index(lead) for lead in DOWER_LEADS]
    torch.manual_seed(0)
    among_twelve = vcg_rotation(signal, 0.4, LEADS)[:, eight]
    torch.manual_seed(0)
    assert torch.allclose(vcg_rotation(signal[:, eight], 0.4, DOWER_LEADS), among_twelve, atol=1e-5)


def test_a_record_without_an_independent_lead_is_not_turned_and_one_without_another_is() -> None:
    signal, present = torch.rand(12, 12, 30) + 1, ~torch.eye(12, dtype=torch.bool)
    signal = signal * present[..., None]
    torch.manual_seed(0)
    changed = vcg_rotation(signal, 0.4, LEADS, present)
    stays = [torch.equal(before, after) for before, after in zip(signal, changed, strict=True)]
    assert stays == [lead in DOWER_LEADS for lead in LEADS]


@pytest.mark.parametrize("lead", DOWER_LEADS)
def test_a_missing_independent_lead_is_named(lead: str) -> None:
    with pytest.raises(ValueError, match=rf"vcg_rotation needs {lead} as well"):
        dower_matrices([other for other in LEADS if other != lead])
