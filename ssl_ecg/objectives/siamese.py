"""What objectives that compare views share: views -> features -> embeddings of the joined batch -> a loss.

Each objective adds its loss, a function of the embeddings alone, so that methods compared differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations, pairwise
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from ssl_ecg.objectives.pieces import in_pieces
from ssl_ecg.views import Augment, adjacent_segments

Leads = Literal["joint", "single"]

AUGMENT: Mapping[str, float] = MappingProxyType({"amplitude_scaling": 0.1, "gaussian_noise": 0.1, "lead_masking": 0.7})
"""What makes two segments of a recording differ: random lead masking (Oh et al., CHIL 2022) above all."""


def gather_rows(rows: Tensor) -> Tensor:
    """Join rows [B, ...] of all processes, with gradients for floating-point rows; one process: as they are."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return rows
    if rows.is_floating_point():
        from lightly.utils.dist import gather

        return torch.cat(gather(rows))
    parts = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, rows)
    return torch.cat(parts)


def projector(inputs: int, hidden: int, outputs: int, layers: int) -> nn.Sequential:
    """Return an MLP of ``layers`` linear layers with batch norm and ReLU between; dropped after pretraining."""
    widths = [inputs, *[hidden] * (layers - 1)]
    body: list[nn.Module] = []
    for before, after in pairwise(widths):
        body += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*body, nn.Linear(widths[-1], outputs))


def mean_over_pairs(loss: Callable[[Tensor, Tensor], Tensor], views: Tensor) -> Tensor:
    """Return the mean of a two-view loss over all pairs of views [V, B, E]; 0 for a single row.

    One row has nothing to be told apart from, and no variance: these losses are not defined for it. It can be the last
    of a validation set.
    """
    if views.shape[1] == 1:
        return 0.0 * views.sum()
    return torch.stack([loss(a, b) for a, b in combinations(views, 2)]).mean()


def single_lead(backbone: Any) -> Any:
    """Return the network of one lead inside a backbone.

    Raises:
        ValueError: the backbone takes several leads together.
    """
    network = getattr(backbone, "single", backbone)
    if network.in_leads != 1:
        raise ValueError(
            f"backbone.in_leads={network.in_leads}: the objective shows the network one lead at a time, this one takes "
            "them together; choose backbone=lead_wise, which applies a one-lead network to every lead"
        )
    return network


class Views(NamedTuple):
    """V views of R rows each: what networks take, and whose they are.

    Attributes:
        signal: [V, R, L, samples].
        recorded: int64 [V, R], samples of each view that were recorded.
        leads: bool [V, R, L], leads of each view that were recorded; a masked lead is one.
        patient: [R].
    """

    signal: Tensor
    recorded: Tensor
    leads: Tensor
    patient: Tensor

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """``signal``, ``recorded`` and ``leads`` of all views as one batch of V * R."""
        return self.signal.flatten(0, 1), self.recorded.flatten(0, 1), self.leads.flatten(0, 1)

    @property
    def there(self) -> Tensor:
        """Which views show anything, bool [V, R]: not that of a single lead that was not recorded."""
        return self.leads.any(2)


def complete(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a batch with ``recorded`` and ``leads``, which may be left out where everything was recorded."""
    signal = batch["signal"]
    whole = {
        "recorded": torch.full(signal.shape[:1], signal.shape[2], device=signal.device),
        "leads": torch.ones(signal.shape[:2], dtype=torch.bool, device=signal.device),
    }
    return {**whole, **batch}


class Siamese(nn.Module):
    """The same network on several views of every recording: adjacent time segments, each augmented for itself.

    Args:
        backbone: signal [B, L, T] in, features [B, D] out; where it knows the names of its leads, so does augmentation.
        sampling_rate: Hz.
        leads: "joint": the network takes all leads of a recording together, a row each; "single": one at a time, every
            lead of every recording being a row of its own with the recording's patient (needs ``single_lead``).
        segments: adjacent segments a recording is cut into, at least 2; each is a view.
        projector_width: hidden width of the projector.
        projector_layers: linear layers of the projector.
        embedding: size E of the embedding that the loss compares.
        augment: augmentation name to strength, drawn anew for every segment, all leads together.

    Raises:
        ValueError: unknown ``leads``; single leads with a backbone that takes them together, or with lead masking; a
            projector without layers, width or outputs.
    """

    def __init__(
        self,
        backbone: Any,
        sampling_rate: float,
        leads: Leads = "joint",
        segments: int = 2,
        projector_width: int = 512,
        projector_layers: int = 2,
        embedding: int = 128,
        augment: Mapping[str, float] | None = AUGMENT,
    ) -> None:
        super().__init__()
        if leads not in get_args(Leads):
            raise ValueError(f"leads={leads!r}: choose one of {', '.join(get_args(Leads))}")
        if leads == "single" and (augment or {}).get("lead_masking"):
            raise ValueError("augment.lead_masking: a masked single lead is a view of nothing; set it to 0")
        sizes = {"projector_width": projector_width, "projector_layers": projector_layers, "embedding": embedding}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name}={size}: must be at least 1")
        self.backbone = backbone
        self.micro_batch: int | None = None  # views that the network sees at once; the engine sets it
        self.leads, self.segments = leads, segments
        self.projector = projector(self.network.width, projector_width, embedding, projector_layers)
        self.augment = Augment(augment or {}, sampling_rate, backbone.leads)

    @property
    def network(self) -> Any:
        """What sees the views: the backbone, or the network of one lead inside it."""
        return self.backbone if self.leads == "joint" else single_lead(self.backbone)

    def segment(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Cut the signals of a batch into segments [V, B, L, T / V]; return the recorded samples of each [V, B] too."""
        return adjacent_segments(batch["signal"], batch["recorded"], self.segments)

    def views(self, batch: Mapping[str, Tensor]) -> Views:
        """Return views of B rows, or of B * L rows of single leads."""
        batch = complete(batch)
        segments, recorded = self.segment(batch)
        leads = batch["leads"].expand(len(segments), -1, -1)
        signal = torch.stack([self.augment(*view) for view in zip(segments, recorded, leads)])
        if self.leads == "joint":
            return Views(signal, recorded, leads, batch["patient"])
        count = signal.shape[2]
        return Views(
            signal.flatten(1, 2)[:, :, None],
            recorded.repeat_interleave(count, 1),
            leads.flatten(1, 2)[:, :, None],
            batch["patient"].repeat_interleave(count),
        )

    def loss(self, views: Tensor, patient: Tensor) -> Tensor:
        """Return the loss of float32 embeddings [V, R, E] of all processes with the patient of every row [R]."""
        raise NotImplementedError

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch.

        Args:
            batch: ``signal`` [B, L, T], normalised, and ``patient`` [B]; ``recorded`` [B] and ``leads`` [B, L] where
                not everything was recorded.

        Returns:
            "loss"; "alignment", the mean cosine of the first two views of a row; "features" [V * R, D], detached, from
            which the engine watches for collapse.
        """
        views = self.views(batch)
        features = in_pieces(self.network, views.inputs, self.micro_batch)  # [V * R, D]
        embeddings = self.projector(features).unflatten(0, views.recorded.shape)  # [V, R, E]
        # A view of nothing is 0: it has no direction, so it attracts nobody.
        embeddings = embeddings * views.there[..., None]
        # Gathering embeddings, not parts of the loss, makes every loss that of the joined batch.
        embeddings = gather_rows(embeddings.movedim(0, 1).contiguous()).movedim(0, 1)
        patient = gather_rows(views.patient)
        if self.leads == "single":  # rows without any view: leads that were not recorded
            there = gather_rows(views.there.any(0))
            embeddings, patient = embeddings[:, there], patient[there]
        with torch.autocast(embeddings.device.type, enabled=False):
            loss = self.loss(embeddings.float(), patient)
        return {"loss": loss, "alignment": alignment(embeddings), "features": features.detach()}


def alignment(views: Tensor) -> Tensor:
    """Return the mean cosine between the first two of embeddings [V, R, E], without gradient."""
    first, second = views[:2].detach().float()
    return torch.cosine_similarity(first, second).mean()
