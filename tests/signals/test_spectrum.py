from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ssl_ecg.signals.spectrum import magnitude_spectrum


@pytest.mark.parametrize("samples", [2, 7, 200, 999, 1000])
def test_is_numpys_spectrum_standardised_over_all_bins(samples: int) -> None:
    signal = np.random.default_rng(samples).standard_normal((3, 2, samples)) + 0.3
    magnitude = np.abs(np.fft.fft(signal - signal.mean(-1, keepdims=True)))
    expected = (magnitude - magnitude.mean(-1, keepdims=True)) / magnitude.std(-1, ddof=1, keepdims=True)
    found = magnitude_spectrum(torch.from_numpy(signal)).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected[..., : samples // 2], atol=2e-5)


def test_is_that_of_the_authors(read_oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    oracle = read_oracle("bimodal_mae_forward")
    found = magnitude_spectrum(torch.from_numpy(oracle["signal"]))
    np.testing.assert_allclose(found.numpy(), oracle["spectrum"], atol=1e-5)


def test_a_sine_stands_in_its_bin_whatever_its_scale_and_offset() -> None:
    time = torch.arange(1000) / 100
    sine = torch.sin(2 * torch.pi * 7.3 * time)
    spectrum = magnitude_spectrum(torch.stack([sine, 1000 * sine, sine + 3]))
    assert spectrum.argmax(1).tolist() == [73, 73, 73]
    torch.testing.assert_close(spectrum[0], spectrum[1], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(spectrum[0], spectrum[2], atol=1e-3, rtol=1e-3)


def test_a_flat_lead_has_a_finite_spectrum_and_gradient() -> None:
    signal = torch.stack([torch.zeros(100), torch.full((100,), 3.0)]).requires_grad_()
    spectrum = magnitude_spectrum(signal)
    assert torch.equal(spectrum[0], torch.zeros(50))
    spectrum.sum().backward()
    assert spectrum.isfinite().all()
    assert signal.grad is not None
    assert signal.grad.isfinite().all()


def test_half_precision_is_computed_in_float32() -> None:
    signal = torch.randn(2, 1000)
    half = magnitude_spectrum(signal.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, magnitude_spectrum(signal.bfloat16().float()))


def test_one_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 samples"):
        magnitude_spectrum(torch.zeros(3, 1))
