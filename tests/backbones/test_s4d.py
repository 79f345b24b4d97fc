from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import cont2discrete, dimpulse

from ssl_ecg.backbones import create_backbone
from ssl_ecg.backbones.s4d import DiagonalKernel, StateSpace


def test_the_kernel_is_the_impulse_response_that_scipy_computes() -> None:
    torch.manual_seed(0)
    kernel = DiagonalKernel(channels=2, state=6).double()
    with torch.no_grad():
        kernel.log_decay += 0.3 * torch.randn(2, 3)
        kernel.frequency += 0.3 * torch.randn(2, 3)
        response = kernel(300).numpy()
        decay, frequency = kernel.log_decay.exp().numpy(), kernel.frequency.numpy()
        output, step = kernel.output.numpy(), kernel.log_dt.exp().numpy()
    for channel in range(2):
        # A conjugate pair as a real system of two states: 2 Re(c x) = 2 (re c) (re x) - 2 (im c) (im x).
        a, b, c = np.zeros((6, 6)), np.zeros((6, 1)), np.zeros((1, 6))
        for pair in range(3):
            here = slice(2 * pair, 2 * pair + 2)
            real, imaginary = -decay[channel, pair], frequency[channel, pair]
            a[here, here] = [[real, -imaginary], [imaginary, real]]
            b[2 * pair] = 1
            c[0, here] = 2 * output[channel, pair] * [1, -1]
        discrete = cont2discrete((a, b, c, np.zeros((1, 1))), step[channel], method="zoh")
        _, (expected,) = dimpulse(discrete, n=301)
        # scipy's states hold the inputs before a step; ours hold the step itself as well.
        np.testing.assert_allclose(response[channel], expected[1:, 0], rtol=1e-8, atol=1e-10)


def test_it_starts_as_s4d_lin() -> None:
    torch.manual_seed(0)
    kernel = DiagonalKernel(channels=500, state=8)
    torch.testing.assert_close(-kernel.log_decay.exp(), torch.full((500, 4), -0.5))
    torch.testing.assert_close(kernel.frequency[7], math.pi * torch.arange(4.0))
    assert 1e-3 <= kernel.log_dt.exp().min() < 1.1e-3
    assert 0.09 < kernel.log_dt.exp().max() <= 1e-1
    assert kernel.output.square().sum(-1).mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("length", [1, 2, 37])
def test_the_fft_is_the_sum_over_past_and_future(bidirectional: bool, length: int) -> None:
    torch.manual_seed(0)
    system = StateSpace(3, 4, bidirectional)
    x = torch.randn(2, 3, length)
    with torch.no_grad():
        past = system.past(length)
        future = system.future(length) if system.future is not None else torch.zeros(3, length)
        expected = system.direct[:, None] * x
        for t in range(length):
            for s in range(length):
                response = past[:, t - s] if s <= t else future[:, s - t - 1]
                expected[:, :, t] += response * x[:, :, s]
        torch.testing.assert_close(system(x), expected, rtol=1e-4, atol=1e-4)


def test_one_direction_never_sees_the_future_and_both_do() -> None:
    signal = torch.randn(1, 12, 200)
    changed = signal.clone()
    changed[..., 120:] += 1
    for bidirectional in (False, True):
        torch.manual_seed(0)
        backbone = create_backbone("s4d", width=8, depth=2, bidirectional=bidirectional).eval()
        with torch.no_grad():
            difference = (backbone.forward_features(signal) - backbone.forward_features(changed)).abs()
        assert difference.shape == (1, 200, 8)
        assert (difference[:, :120].max() > 1e-2) == bidirectional
        assert difference[:, 120:].max() > 1e-2


def test_the_kernel_is_float32_under_autocast() -> None:
    system = StateSpace(4, 8, True)
    x = torch.randn(2, 4, 1000)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(system(x), system.float()(x))
        assert system(x.bfloat16()).dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(system(x), StateSpace.forward(system, x))


def test_an_odd_state_is_refused() -> None:
    with pytest.raises(ValueError, match="state=3"):
        create_backbone("s4d", state=3)
