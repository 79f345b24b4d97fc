"""What is compared, and with what care each arm is tuned."""

from __future__ import annotations

from itertools import count, islice
from typing import Annotated, Any, Literal, Self

from annotated_types import Gt, MinLen
from pydantic import model_validator

from ssl_ecg.comparison.arms import ARMS, BLENDS, PROBES, Arm, Fraction, Seeds, candidate_settings, members
from ssl_ecg.settings import Settings, chosen, recipe
from ssl_ecg.tasks.registry import TASKS
from ssl_ecg.training.finetune_settings import FinetuneSettings
from ssl_ecg.training.pretrain_settings import LoggerName

AUGMENTED: dict[str, Any] = {"learning_rate": 1e-3, "augment": {"lead_masking": 0.3, "gaussian_noise": 0.1}}


class CompareSettings(Settings):
    """What to compare."""

    task: chosen("task", TASKS) = "arrhythmia"  # type: ignore[valid-type]
    """what is learned"""
    arms: tuple[Arm, ...] = ARMS
    """what is compared: linear probes of frozen features; networks trained from random and from pretrained weights; the
    same two of the encoder of simulated hearts that ships (``synthetic``), where it reads signals such as the
    archive's; where labels have names that mean something in simulated hearts, what that encoder says without any
    label (``synthetic_zero_shot``), and probes that labels pull away from that (``..._prior_probe``); trees on the
    encoder's features (``pretrained_boost``); and means of models, of which ``scratch_ensemble``, two networks, and
    ``scratch_blend``, one and a probe of simulated hearts, are what ``pretrained_blend`` must beat"""
    meanings: dict[str, tuple[str, ...]] | None = None
    """what labels mean in conditions of simulated hearts, beside those known by name: ``{MI: [inferior_infarction,
    old_infarction]}`` means any of these, a list that begins with ``none_of`` that none of the others is there"""
    external: str | None = None
    """what somebody else made, as a further arm: an encoder folder, of which linear probes are fitted, or a function
    ``module:function`` that needs no labels: it gives scores [n, classes] of signals [n, leads, samples] in millivolts,
    their rate in Hz and the names of their leads"""
    fractions: Annotated[tuple[Fraction, ...], MinLen(1)] = (0.01, 0.05, 0.1, 0.25, 1.0)
    """shares of the training patients whose labels are used"""
    validation: Literal["full", "nested"] = "full"
    """which validation records choose: all, or a share of their patients as large as that of the labels used, as where
    labels are few altogether"""
    seeds: Seeds = (0, 1, 2, 3, 4)
    """each draws its own label fractions, initialisation and batches"""
    probe_draws: Annotated[int, Gt(0)] = 10
    """seeds of the probes, which cost a second each: those above, and further ones where these are fewer"""
    pretrained_finetune: recipe("training", FinetuneSettings) = "pretrained"  # type: ignore[valid-type]
    """how the pretrained encoder is trained"""
    scratch: recipe("training", FinetuneSettings) = "scratch"  # type: ignore[valid-type]
    """how random weights are trained; for as long"""
    pretrained_candidates: tuple[dict[str, Any], ...] = (
        {"learning_rate": 3e-4},
        {"learning_rate": 1e-4},
        {**AUGMENTED, "head": "zero", "layer_decay": 1.0},
    )
    """changes to ``pretrained_finetune`` that validation chooses from, at each fraction with the first seed; the other
    seeds use the chosen one. The last one trains as ``scratch`` does, from the pretrained weights"""
    scratch_candidates: tuple[dict[str, Any], ...] = ({"learning_rate": 1e-3}, {"learning_rate": 3e-3}, AUGMENTED)
    """the same for ``scratch``; as many"""
    loggers: tuple[LoggerName, ...] = ()
    """where to log the curve and the validation score of every run, beside the tables: into the folder OUT.logs"""
    replicates: Annotated[int, Gt(0)] = 2000
    """bootstrap draws of patients, of which standard errors are made: 2000 give them to 2 %"""
    seen_patients: Literal["refuse", "test"] = "refuse"
    """what to do where pretraining has seen test patients: "refuse", or "test" on them, since they are other people of
    the same ids. Where they are not, the result is not an honest one"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.pretrained_candidates) != len(self.scratch_candidates):
            raise ValueError(
                f"scratch_candidates={list(self.scratch_candidates)}: {len(self.scratch_candidates)} against "
                f"{len(self.pretrained_candidates)} pretrained_candidates; give both arms the same number of tries"
            )
        for arm in BLENDS.intersection(self.arms):
            if missing := sorted(set(members(arm, self.arms)) - set(self.arms)):
                raise ValueError(f"arms={list(self.arms)}: {arm} is made of {', '.join(missing)}; name that arm too")
        if self.pretrained_finetune.budget != self.scratch.budget:
            raise ValueError(
                f"scratch.{self.scratch.budget}: give both arms the same budget, that of "
                f"pretrained_finetune.{self.pretrained_finetune.budget}"
            )
        return self

    @property
    def static(self) -> tuple[str, ...]:
        """Names of all static inputs that an arm is tried with."""
        tried = (self.pretrained_finetune, self.pretrained_candidates), (self.scratch, self.scratch_candidates)
        every = [each for base, changes in tried for each in candidate_settings(base, changes, base.seed)]
        return tuple(dict.fromkeys(name for each in every for name in each.static))

    def identity(self) -> dict[str, Any]:
        """Return what decides the results, JSON-ready."""
        return {name: value for name, value in self.to_dict().items() if name != "loggers"}

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """Return the seeds of an arm's runs."""
        if arm not in PROBES:
            return self.seeds
        further = (seed for seed in count() if seed not in self.seeds)
        return (*self.seeds, *islice(further, max(self.probe_draws - len(self.seeds), 0)))
