"""The verbs as functions; the command line calls these and nothing else."""

from ssl_ecg.archive import open_archive
from ssl_ecg.backbones import load_encoder
from ssl_ecg.labels import SplitSettings
from ssl_ecg.verbs.archives import ingest, synthesize
from ssl_ecg.verbs.comparing import ablate, compare
from ssl_ecg.verbs.evaluating import evaluate
from ssl_ecg.verbs.labelling import label_lvef
from ssl_ecg.verbs.pretraining import pretrain
from ssl_ecg.verbs.shared import config_folder
from ssl_ecg.verbs.supervised import finetune, probe

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
