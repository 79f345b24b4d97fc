"""How finetuning is done."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le
from pydantic import model_validator

from ssl_ecg.settings import Settings
from ssl_ecg.tasks import WindowSettings
from ssl_ecg.training.pretrain_settings import Precision

LEAST_STEPS, LEAST_PASSES = 200, 15
MOST_EVALUATIONS, LEAST_EVALUATIONS, SHARE = 15, 5, 0.2


class FinetuneSettings(Settings):
    """How to train with labels."""

    steps: Annotated[int, Gt(0)] | None = None
    """optimisation steps; null: 200, or 15 passes over the training records where these take more, so that the budget
    grows with the labels"""
    epochs: Annotated[int, Gt(0)] | None = None
    """passes over the training records, instead of ``steps``; null: ``steps`` decides"""
    batch_size: Annotated[int, Gt(0)] = 64
    """ECGs of a step; where there are fewer, they are repeated, each copy with a crop of its own"""
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """peak of AdamW's for the head and the last layer group"""
    layer_decay: Annotated[float, Gt(0), Le(1)] = 0.8
    """factor on the learning rate from one layer group to the one before it; 1 trains all alike"""
    weight_decay: Annotated[float, Ge(0)] = 0.05
    """AdamW's"""
    schedule: Literal["cosine", "onecycle"] = "cosine"
    """"cosine" raises the learning rate linearly and lowers it by half a cosine to zero; "onecycle" is the 1cycle
    schedule with torch's settings"""
    warmup: Annotated[float, Ge(0), Le(1)] = 0.1
    """share of the steps with a rising learning rate"""
    head: Literal["probe", "zero", "hidden"] = "probe"
    """"probe" starts the head as the linear probe on the encoder's features, "zero" at zero; "hidden" puts 128 hidden
    units with batch norms and dropout before one at zero, as xresnet1d101 was published for PTB-XL"""
    attention_heads: Annotated[int, Ge(0)] = 0
    """heads of attention that weighs the steps in place of the network's pooling, beginning with their mean (Nejedly et
    al. 2021); a divisor of a step's features; 0 is off"""
    static: tuple[str, ...] = ()
    """what the last layer sees beside the features: columns of numbers of the manifest or, where it has none, of the
    label table, such as ``age``; ``sex`` (female 0, male 1); and ``rhythm``, twenty named numbers of the ECG
    (``ssl_ecg.tasks.rhythm``). Unknown values are told as such; the new weights start at 0"""
    freeze_norm: bool | None = None
    """keep the batch norms' running statistics instead of those of small batches; null: with a probe head, which was
    fitted to features made with them"""
    crop: Annotated[float, Gt(0)] | None = 2.5
    """seconds of a random crop during training, or null for whole records"""
    windows: WindowSettings = WindowSettings()
    """how records are cut for the scores of the finished model. Windows whose features are pooled before the head are
    part of the network, in training (in place of the crop) and in the choice of the best evaluation; otherwise that is
    chosen on whole records"""
    augment: dict[str, float] = {}  # noqa: RUF012
    """augmentation name to strength, during training"""
    supervised_contrastive: Annotated[float, Ge(0)] = 0.0
    """weight of the supervised contrastive loss, by which features of records with common labels attract each other,
    beside the task's; 0 is off. For tasks whose targets are labels"""
    semantic_views: bool = False
    """let the supervised contrastive loss compare two views of each ECG that keep what its labels mean (sCL-ST): beats
    joined in another order, and noise or smoothing between beats"""
    keep_order: tuple[str, ...] = ()
    """classes whose meaning is the order of beats, such as rhythms: the beats of their records stay in order"""
    attention: Annotated[float, Ge(0)] = 0.0
    """weight of xECGNet's attention regulariser (``ssl_ecg.tasks.attention``), by which features are large where the
    head finds the true classes; 0 is off. For labels, and backbones that pool steps"""
    label_correction: Annotated[float, Ge(0), Le(1)] = 0.0
    """weight, in the end, of labels that prototypes of deep features correct (``ssl_ecg.tasks.label_correction``); 0 is
    off, .5 is usual. In the first half of the training labels are believed. For labels that may be wrong"""
    one_per_patient: bool = False
    """one random record of each patient an epoch, so that nobody counts more for more ECGs"""
    evaluations: Annotated[int, Gt(0)] | None = None
    """how often validation is scored, evenly over the steps; null: 15 times, or less often, 5 times at least, where
    there are so many validation records that this would take more than a fifth of the time"""
    precision: Precision = "auto"
    """of the arithmetic; "auto" is bf16-mixed on a GPU that has it, or without a GPU on a processor with AVX512-BF16
    or AMX, else 32-true"""
    seed: Annotated[int, Ge(0)] = 0
    """of everything random"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.semantic_views and not self.supervised_contrastive:
            raise ValueError("semantic_views=True: no loss compares them; give supervised_contrastive a weight")
        if twice := {name for name in self.static if self.static.count(name) > 1}:
            raise ValueError(f"static={list(self.static)}: {', '.join(sorted(twice))} stands there twice; name it once")
        if self.static and self.attention:
            raise ValueError(f"static={list(self.static)}: attention is for heads of features alone; leave one out")
        if self.keep_order and not self.semantic_views:
            raise ValueError(
                f"keep_order={list(self.keep_order)}: no beat is moved; leave it out, or add semantic_views"
            )
        return self

    @property
    def norms_kept(self) -> bool:
        """Whether the batch norms' running statistics are kept."""
        return self.head == "probe" if self.freeze_norm is None else self.freeze_norm

    @property
    def budget(self) -> str:
        """How long training lasts, in words that tell whether two last equally long."""
        return f"steps={self.steps or 'null'}" if self.epochs is None else f"epochs={self.epochs}"

    def steps_of(self, batches: int) -> int:
        """Return how many steps training takes where a pass over the records takes so many batches."""
        if self.epochs is not None:
            return self.epochs * batches
        return self.steps or max(LEAST_STEPS, LEAST_PASSES * batches)

    def evaluations_of(self, trained: int, scored: int) -> int:
        """Return how often validation is scored.

        Args:
            trained: samples that all steps of the training see.
            scored: samples of the validation records. Scoring one takes a third of training on it, or less: a backward
                pass is two forward passes. With few labels the best step is an early one: five evaluations are needed
                to find it, whatever they cost.
        """
        affordable = SHARE / (1 - SHARE) * 3 * trained / scored
        return self.evaluations or max(LEAST_EVALUATIONS, min(MOST_EVALUATIONS, int(affordable)))
