"""Smaller networks out of finished ones: fewer channels, fewer leads, or weights of 0.

Channels (structured pruning): a narrower network of the same kind takes the weights of the strongest channels; nothing
but the network changes, and every device is faster. The strength of a channel is the L2 norm of its filter as the batch
norm behind it scales it (after Li et al. 2017, arXiv:1608.08710). Channels that residual blocks add to each other are
kept or cut together.

Weights (magnitude pruning: Han et al. 2015, arXiv:1506.02626): the smallest of all convolutions become 0. That saves
storage, and time on what skips zeros alone; PyTorch and ONNX Runtime do not.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from ssl_ecg.backbones.encoder import Encoder
from ssl_ecg.backbones.xresnet1d import ConvNorm, ResidualBlock, XResNet1d


def narrowed(encoder: Encoder, keep: float = 1.0, leads: Sequence[str] | None = None) -> Encoder:
    """Return an encoder of the strongest channels of another, for some of its leads.

    Args:
        encoder: of an xresnet1d with residual blocks as they come.
        keep: share of the channels of every layer.
        leads: that the signal has; None: all.

    Raises:
        ValueError: a network of another kind, or a lead that it does not know.
    """
    network, leads = encoder.backbone, tuple(leads or encoder.leads)
    plain = type(network) is XResNet1d and all(type(block) is ResidualBlock for block in _blocks(network))
    if not plain or "width" not in encoder.options:
        raise ValueError(
            f"encoder: its network {encoder.name!r} is no xresnet1d, whose channels and leads can be cut; distil a new "
            "network"
        )
    assert isinstance(network, XResNet1d)
    if unknown := sorted(set(leads) - set(encoder.leads)):
        raise ValueError(f"leads={unknown}: the encoder has {', '.join(encoder.leads)}")
    options = {**encoder.options, "width": max(1, round(keep * encoder.options["width"]))}
    signal = encoder.signal.replace(leads=leads)
    smaller = Encoder(encoder.name, options, signal, encoder.origin, encoder.patients, encoder.ecgs)
    assert isinstance(smaller.backbone, XResNet1d)
    cut_channels(network, smaller.backbone, torch.tensor([encoder.leads.index(lead) for lead in leads]))
    return smaller.train(encoder.training)


def without_smallest(encoder: Encoder, keep: float) -> Encoder:
    """Return a copy of an encoder in which only this share of the weights of its layers, the largest, is not 0."""
    made = copy.deepcopy(encoder)
    parts = [
        (part, "weight") for part in made.backbone.modules() if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Linear)
    ]
    prune.global_unstructured(parts, prune.L1Unstructured, amount=1 - keep)
    for part, name in parts:
        prune.remove(part, name)
    return made


@torch.no_grad()
def cut_channels(network: XResNet1d, smaller: XResNet1d, leads: Tensor) -> dict[str, Tensor]:
    """Give a narrower network of the same depths the weights of the strongest channels.

    Args:
        network: to take from.
        smaller: to give to.
        leads: int64, places of the smaller one's leads among those of the network.

    Returns:
        By the name of each ``ConvNorm`` of the network the channels that are kept of its outputs, int64, ascending.
        Where all others were masked with 0, it would give what the smaller one gives.
    """
    names = {part: name for name, part in network.named_modules() if isinstance(part, ConvNorm)}
    kept: dict[str, Tensor] = {}

    def give(big: nn.Module, small: nn.Module, inputs: Tensor, outputs: Tensor | None = None) -> Tensor:
        assert isinstance(big, ConvNorm)
        assert isinstance(small, ConvNorm)
        if outputs is None:
            outputs = _strongest([big], small)
        small[0].load_state_dict({"weight": big[0].state_dict()["weight"][outputs][:, inputs]})
        norm = big[1].state_dict().items()
        small[1].load_state_dict({name: value[outputs] if value.ndim else value for name, value in norm})
        kept[names[big]] = outputs
        return outputs

    blocks, smaller_blocks = _blocks(network), _blocks(smaller)
    stem = leads
    for number in range(2):
        stem = give(network.stem[number], smaller.stem[number], stem)
    stream = _strongest([network.stem[2], *_adding(blocks)], smaller.stem[2])
    give(network.stem[2], smaller.stem[2], stem, stream)
    for number, (block, small) in enumerate(zip(blocks, smaller_blocks)):
        inner = before = stream
        projection = _projection(block)
        if projection is not None:
            stream = _strongest([block.branch[-1], projection, *_adding(blocks[number + 1 :])], small.branch[-1])
            give(projection, _projection(small), before, stream)  # type: ignore[arg-type]
        for big_part, small_part in zip(list(block.branch)[:-1], list(small.branch)[:-1]):
            inner = give(big_part, small_part, inner)
        give(block.branch[-1], small.branch[-1], inner, stream)
    return kept


def _blocks(network: nn.Module) -> list[ResidualBlock]:
    return [part for part in network.modules() if isinstance(part, ResidualBlock)]


def _projection(block: ResidualBlock) -> ConvNorm | None:
    """Return what maps the input of a block to other channels; None where they stay."""
    return next((part for part in block.shortcut if isinstance(part, ConvNorm)), None)


def _adding(blocks: list[ResidualBlock]) -> list[nn.Module]:
    """Return the last layers of the blocks that add to the channels which come in, up to the first that projects."""
    found = []
    for block in blocks:
        if _projection(block) is not None:
            break
        found.append(block.branch[-1])
    return found


def _strongest(parts: Sequence[nn.Module], like: nn.Module) -> Tensor:
    """Return the channels in which layers that are added are the strongest, as many as a layer of another network."""
    strength = torch.stack([_strength(part) for part in parts]).square().sum(0)
    return strength.topk(like[0].out_channels).indices.sort().values  # type: ignore[index]


def _strength(part: nn.Module) -> Tensor:
    convolution, norm = part[0], part[1]  # type: ignore[index]
    scale = norm.weight.abs() / (norm.running_var + norm.eps).sqrt()
    return scale * convolution.weight.flatten(1).norm(dim=1)
