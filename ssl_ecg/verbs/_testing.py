"""Which labelled records of an archive test a finished model."""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.archive import Archive
from ssl_ecg.labels.splits import lacking, last_of_each_patient
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.settings import Settings
from ssl_ecg.tasks import Classifier, read_task
from ssl_ecg.verbs._given import TableLike

logger = logging.getLogger(__name__)

_REMEDY = (
    "choose seen_patients=leave_out to test the others. Patients are recognised by their id alone: where the archive "
    "is of another site, whose ids name other people, choose seen_patients=test"
)


class SeenSettings(Settings):
    """What to do about patients that a model has learned from."""

    seen_patients: Literal["refuse", "leave_out", "test"] = "refuse"
    """where the model has learned from a patient of the same id: refuse, leave out the records, or test on them, since
    they are of other people. Nobody is recognised in an archive that was ingested with another salt"""


class TestSettings(SeenSettings):
    """Which records test."""

    __test__ = False

    records: Literal["all", "last"] = "all"
    """all records of a patient test, or the last recorded one, whatever its outcome"""


class Records(NamedTuple):
    """Records that test.

    Attributes:
        table: label table.
        tested: int64 [n], where they stand in it.
        seen: bool, of all that could test, whether the model has learned from their patients.
    """

    table: LabelTable
    tested: NDArray[np.int64]
    seen: NDArray[np.bool_]


def records_that_test(model: Classifier, archive: Archive, labels: TableLike, settings: TestSettings) -> Records:
    """Return the labelled records of an archive, ``opened_for`` a model, that test it, as the settings choose.

    Raises:
        ValueError: patients that the model has learned from.
    """
    from ssl_ecg.training.batches import count_incomplete

    table, _ = read_task(model.task.name, labels, archive, model.task.classes, model.task.options)
    count_incomplete(archive, table.rows)
    index = np.arange(len(table))
    if settings.records == "last":
        index = last_of_each_patient(table, index)
    index, seen = unseen(model, archive, table, index, settings)
    for line in lacking(table, "the label table", index):
        logger.warning(line)
    return Records(table, index, seen)


def unseen(
    model: Classifier, archive: Archive, table: LabelTable, index: NDArray[np.int64], settings: SeenSettings
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return of records at places in a table those that may be asked about, and which of all are of seen patients.

    Raises:
        ValueError: patients that the model has learned from, where the settings refuse them.
    """
    from ssl_ecg.comparison import check_unseen, recognised

    seen = recognised(model.encoder, archive, table.rows[index])
    if settings.seen_patients == "leave_out":
        logger.info("left out %d of %d records, of patients that the model has learned from", seen.sum(), len(index))
        index = index[~seen]
    refuse = "test" if settings.seen_patients == "test" else "refuse"
    check_unseen(model.encoder, archive, table.rows[index], refuse, _REMEDY)
    return index, seen
