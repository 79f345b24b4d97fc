from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter as scipy_median

from ssl_ecg.views.drawing import draw_leads, median_filter


def by_brute_force(
    signal: np.ndarray, height: int, samples_per_column: int, limit: float, thickness: float
) -> np.ndarray:
    """One lead: share of each pixel's height that is near the line anywhere in the pixel's column."""
    fine = 200
    time = np.linspace(0, len(signal) - 1, (len(signal) - 1) * fine + 1)
    value = np.clip(np.interp(time, np.arange(len(signal)), signal), -limit, limit)
    depth = height / 2 - value / limit * (height - thickness) / 2
    columns = -(-(len(signal) - 1) // samples_per_column)
    image = np.zeros((height, columns))
    for column in range(columns):
        inside = depth[column * samples_per_column * fine : (column + 1) * samples_per_column * fine + 1]
        for row in range(height):
            points = row + (np.arange(fine) + 0.5) / fine
            image[row, column] = (np.abs(points[:, None] - inside).min(1) <= thickness / 2).mean()
    return image


@pytest.mark.parametrize(("samples", "per_column"), [(9, 1), (9, 2), (10, 4)])
def test_drawing_is_that_of_brute_force(samples: int, per_column: int) -> None:
    signal = 1.3 * torch.randn(2, 2, samples, generator=torch.Generator().manual_seed(0)).cumsum(2)
    drawn = draw_leads(signal, 12, per_column, limit=3.0, thickness=1.5)
    assert drawn.shape[:2] == (2, 24)
    for image, record in zip(drawn, signal.numpy().astype(float), strict=True):
        expected = np.concatenate([by_brute_force(lead, 12, per_column, 3.0, 1.5) for lead in record])
        np.testing.assert_allclose(image, expected, atol=0.03)


def test_up_is_positive_and_leads_go_from_top_to_bottom() -> None:
    signal = torch.tensor([[[4.0, 4.0, 4.0], [-4.0, -4.0, -4.0]]])
    ink = draw_leads(signal, 10, 1, limit=5.0, thickness=1.0)[0].sum(1)
    assert ink[:5].sum() == pytest.approx(2)  # one pixel thick, two columns, upper half of the first strip
    assert ink[15:].sum() == pytest.approx(2)
    assert ink.sum() == pytest.approx(4)


def test_every_column_of_every_lead_is_drawn_and_nothing_leaves_its_strip() -> None:
    signal = 100 * torch.randn(3, 8, 333)
    signal[0, 4] = 0
    image = draw_leads(signal, 16, 2, limit=2.0, thickness=1.5)
    assert image.shape == (3, 8 * 16, 166)
    assert image.min() >= 0
    assert image.max() <= 1
    ink = image.unflatten(1, (8, 16)).sum(2)
    assert ink.min() >= 1.5 - 1e-4  # the whole thickness of the line, even of samples far beyond the limit
    torch.testing.assert_close(ink[0, 4], torch.full((166,), 1.5))  # and no more of a flat one beside wild neighbours


def test_a_batch_is_drawn_in_a_moment() -> None:
    signal = torch.randn(64, 8, 1000)
    draw_leads(signal[:2])
    start = time.process_time()
    assert draw_leads(signal).shape == (64, 256, 500)
    assert time.process_time() - start < 2  # measured 0.1 s on one thread


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_median_is_that_of_scipy(kernel: int) -> None:
    signal = torch.randn(2, 3, 50, dtype=torch.float64)
    expected = scipy_median(signal.numpy(), size=(1, 1, kernel), mode="mirror")
    np.testing.assert_array_equal(median_filter(signal, kernel), expected)


@pytest.mark.parametrize("kernel", [0, 2, 21])
def test_impossible_kernels_are_named(kernel: int) -> None:
    with pytest.raises(ValueError, match=f"kernel={kernel}"):
        median_filter(torch.zeros(1, 1, 10), kernel)


def test_impossible_drawings_are_named() -> None:
    with pytest.raises(ValueError, match=r"signal \(2, 8, 1\)"):
        draw_leads(torch.zeros(2, 8, 1))
    with pytest.raises(ValueError, match=r"thickness=9, lead_height=8"):
        draw_leads(torch.zeros(2, 8, 10), 8, thickness=9)
