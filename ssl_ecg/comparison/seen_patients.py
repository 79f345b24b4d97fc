"""Whether an encoder has learned from the patients that are to test it."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.archive import Archive
from ssl_ecg.archive.hashes import ecgs_of, patients_of
from ssl_ecg.backbones import Encoder
from ssl_ecg.labels.splits import Splits
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import patient_hash, site
from ssl_ecg.tasks import Classifier

SEEN_PATIENTS = ("refuse", "test")
"""What to do with test records of patients that the encoder knows: stop, or take them for other people's."""

_REMEDY = (
    "pretrain with this label table and split as holdout, or, where the same ids are other people, choose "
    "seen_patients=test"
)

logger = logging.getLogger(__name__)


def recognised(encoder: Encoder, archive: Archive, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell of archive rows [n] whether the encoder has learned from their patients, or from the same ECGs.

    Patients are known by the hashes of their ids; a copy of an ECG, under whatever name, by that of its signal.
    """
    patients = archive.manifest["patient_id"].iloc[rows]
    known = {patient: patient_hash(patient) in encoder.patients for patient in patients.unique()}
    seen = patients.map(known).to_numpy(dtype=bool)
    if encoder.ecgs and (ecgs := ecgs_of(archive, rows)):
        seen = seen | np.array([ecg in encoder.ecgs for ecg in ecgs], dtype=bool)
    return seen


def remember(
    model: Classifier,
    archive: Archive,
    labels: LabelTable,
    splits: Splits,
    unlabelled: NDArray[np.int64] | tuple[()] = (),
) -> None:
    """Keep with a model whom it has learned from and how they were split, and how common each outcome was in training.

    Its patients do not test it later; those of archive rows ``unlabelled`` [n] that it learned from neither.
    """
    rows = np.r_[labels.rows[np.r_[splits.train, splits.validation]], np.asarray(unlabelled, np.int64)]
    model.encoder.patients |= patients_of(archive, rows)
    model.encoder.ecgs |= frozenset(ecgs_of(archive, rows))
    origin = model.encoder.origin
    origin["split"] = dict(splits.how)
    common = np.nanmean(labels.outcome[splits.train], axis=0)
    origin["prevalence"] = {name: float(share) for name, share in zip(labels.outcomes, common)}
    origin["sites"] = sorted({*origin.get("sites", []), site()})


def check_unseen(
    encoder: Encoder,
    archive: Archive,
    rows: NDArray[np.int64],
    seen_patients: str = "refuse",
    remedy: str = _REMEDY,
) -> None:
    """Refuse to test on patients that pretraining, or finetuning, has seen.

    Args:
        encoder: knows hashes of the patients it learned from.
        archive: knows the patient of every row.
        rows: archive rows of the test records.
        seen_patients: "refuse", or "test": log instead of refusing.
        remedy: what to do about it, for the message.

    Raises:
        ValueError: with hashes of some of the patients, or another word than these two.
    """
    if seen_patients not in SEEN_PATIENTS:
        raise ValueError(f"seen_patients={seen_patients!r}: choose one of {', '.join(SEEN_PATIENTS)}")
    if encoder.patients and site() not in encoder.origin.get("sites", []):
        logger.warning(
            "the patients that the encoder learned from are hashed under the key of another site, or by an earlier "
            "release: nobody is recognised here"
        )
    patients = archive.manifest["patient_id"].iloc[rows]
    if len(seen := patients[recognised(encoder, archive, rows)].unique()):
        hashes = sorted(map(patient_hash, seen))
        found = (
            f"{len(seen)} of {patients.nunique()} test patients are among those the encoder learned from "
            f"(by id, or as the same ECG under another; hashes {', '.join(hashes[:3])})"
        )
        if seen_patients == "refuse":
            raise ValueError(f"{found}; {remedy}")
        logger.warning("%s", found)
