"""How finetuning is done."""

from __future__ import annotations

from dataclasses import dataclass, field

from ssl_ecg.tasks import WindowSettings
from ssl_ecg.training.engine import one_cycle, warmup_cosine

HEADS = ("probe", "zero")
SCHEDULES = {"cosine": warmup_cosine, "onecycle": one_cycle}


@dataclass(frozen=True)
class FinetuneSettings:
    """How to train with labels.

    Attributes:
        steps: optimisation steps.
        epochs: passes over the training records, instead of ``steps``; None: ``steps`` decides.
        batch_size: ECGs of a step; where there are fewer, they are repeated, each copy with a crop of its own.
        learning_rate: peak of AdamW's for the head and the last layer group.
        layer_decay: factor on the learning rate from one layer group to the one before it; 1 trains all alike.
        weight_decay: AdamW's.
        schedule: "cosine" raises the learning rate linearly and lowers it by half a cosine to zero; "onecycle" is the
            1cycle schedule with torch's settings.
        warmup: share of the steps with a rising learning rate.
        head: "probe" starts the head as the linear probe on the encoder's features, "zero" at zero.
        freeze_norm: keep the batch norms' running statistics instead of those of small batches.
        crop: seconds of a random crop during training, or None for whole records.
        windows: how records are cut for the scores of the finished model. Windows whose features are pooled before the
            head are part of the network, in training (in place of the crop) and in the choice of the best evaluation;
            otherwise that is chosen on whole records.
        augment: augmentation name to strength, during training.
        supervised_contrastive: weight of the supervised contrastive loss, by which features of records with common
            labels attract each other, beside the task's; 0 is off. For tasks whose targets are labels.
        attention: weight of xECGNet's attention regulariser (``ssl_ecg.tasks.attention``), by which features are large
            where the head finds the true classes; 0 is off. For labels, and backbones that pool steps.
        one_per_patient: one random record of each patient an epoch, so that nobody counts more for more ECGs.
        evaluations: how often validation is scored, evenly over the steps.
        precision: "auto", "32-true", "bf16-mixed" or "16-mixed".
        seed: of everything random.
    """

    steps: int = 200
    epochs: int | None = None
    batch_size: int = 64
    learning_rate: float = 1e-3
    layer_decay: float = 0.8
    weight_decay: float = 0.05
    schedule: str = "cosine"
    warmup: float = 0.1
    head: str = "probe"
    freeze_norm: bool = False
    crop: float | None = 2.5
    windows: WindowSettings = field(default_factory=WindowSettings)
    augment: dict[str, float] = field(default_factory=dict)
    supervised_contrastive: float = 0.0
    attention: float = 0.0
    one_per_patient: bool = False
    evaluations: int = 15
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "evaluations"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be above 0")
        if self.epochs is not None and self.epochs <= 0:
            raise ValueError(f"epochs={self.epochs}: must be above 0, or None where steps={self.steps} decides")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule={self.schedule!r}: choose one of {', '.join(SCHEDULES)}")
        if self.crop is not None and self.crop <= 0:
            raise ValueError(f"crop={self.crop}: must be above 0 seconds, or None for whole records")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay={self.layer_decay}: must be above 0 and at most 1")
        for name in ("supervised_contrastive", "attention"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 0")
        if self.head not in HEADS:
            raise ValueError(f"head={self.head!r}: choose one of {', '.join(HEADS)}")

    @property
    def budget(self) -> str:
        """How long training lasts, in words that tell whether two last equally long."""
        return f"steps={self.steps}" if self.epochs is None else f"epochs={self.epochs}"
