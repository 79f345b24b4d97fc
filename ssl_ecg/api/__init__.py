"""The verbs as functions; the command line calls these and nothing else."""

from ssl_ecg.api.archives import ingest, synthesize
from ssl_ecg.api.comparing import ablate, compare
from ssl_ecg.api.evaluating import evaluate
from ssl_ecg.api.labelling import label_lvef
from ssl_ecg.api.pretraining import pretrain
from ssl_ecg.api.shared import SplitSettings, config_folder
from ssl_ecg.api.supervised import finetune, probe
from ssl_ecg.archive import open_archive
from ssl_ecg.backbones import load_encoder

__all__ = [
    "SplitSettings",
    "ablate",
    "compare",
    "config_folder",
    "evaluate",
    "finetune",
    "ingest",
    "label_lvef",
    "load_encoder",
    "open_archive",
    "pretrain",
    "probe",
    "synthesize",
]
