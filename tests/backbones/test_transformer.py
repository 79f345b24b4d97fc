from __future__ import annotations

import numpy as np
import pytest
import torch

from ssl_ecg.backbones.transformer import patchify, position_table, positions, transformer_blocks, unpatchify


def test_patches_are_laid_out_by_lead_then_sample_and_can_be_undone() -> None:
    signal = torch.arange(2 * 3 * 25.0).view(2, 3, 25)
    patches = patchify(signal, 10)
    assert patches.shape == (2, 2, 30)
    assert torch.equal(patches[1, 1, 10:20], signal[1, 1, 10:20])
    assert torch.equal(unpatchify(patches, 3), signal[..., :20])
    with pytest.raises(ValueError, match="shorter than one patch of 30"):
        patchify(signal, 30)


def test_positions_start_as_sines_and_cosines_of_wavelengths_up_to_the_length() -> None:
    table = position_table(8, 50).detach().numpy()[0]
    place = np.arange(50)
    for k in range(4):
        wavelength = 2 * np.pi * 50 ** (k / 4)
        np.testing.assert_allclose(table[k], np.sin(2 * np.pi * place / wavelength), atol=1e-5)
        np.testing.assert_allclose(table[4 + k], np.cos(2 * np.pi * place / wavelength), atol=1e-5)


@pytest.mark.parametrize(("width", "tokens"), [(7, 5), (1, 3), (6, 1)])
def test_positions_of_any_size(width: int, tokens: int) -> None:
    table = position_table(width, tokens)
    assert table.shape == (1, width, tokens)
    assert table.requires_grad
    assert table.isfinite().all()


def test_neighbours_are_told_from_the_start() -> None:
    place = positions(position_table(48, 100), 100)[0].detach()
    likeness = place @ place.T
    for token in (10, 50, 90):
        assert likeness[token].argsort(descending=True)[:3].sort().values.tolist() == [token - 1, token, token + 1]


def test_positions_of_another_length_are_interpolated() -> None:
    table = torch.arange(10.0).view(1, 1, 10)
    assert torch.equal(positions(table, 10)[0, :, 0], torch.arange(10.0))
    torch.testing.assert_close(positions(table, 5)[0, :, 0], torch.tensor([0.5, 2.5, 4.5, 6.5, 8.5]))


def test_blocks_attend_with_half_and_double_precision() -> None:
    blocks = transformer_blocks(12, 2, 3).double()
    assert blocks[0](torch.randn(2, 5, 12, dtype=torch.float64)).dtype == torch.float64
    with pytest.raises(ValueError, match="width=10, heads=3"):
        transformer_blocks(10, 1, 3)
