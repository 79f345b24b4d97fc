"""What is known of records: label tables, outcomes made from hospital tables, and splits by patient."""

from ssl_ecg.labels.clinical_scores import charge_af
from ssl_ecg.labels.cohort import describe_cohort
from ssl_ecg.labels.columns import read_columns
from ssl_ecg.labels.diagnoses import diagnosis_labels, survival_labels
from ssl_ecg.labels.leakage import describe_leakage
from ssl_ecg.labels.lvef import lvef_labels
from ssl_ecg.labels.splits import (
    Splits,
    SplitSettings,
    check_no_leakage,
    last_of_each_patient,
    nested_fractions,
    require_positives,
    split_by_fold,
    split_by_patient,
)
from ssl_ecg.labels.tables import LabelTable, read_labels

__all__ = [
    "LabelTable",
    "SplitSettings",
    "Splits",
    "charge_af",
    "check_no_leakage",
    "describe_cohort",
    "describe_leakage",
    "diagnosis_labels",
    "last_of_each_patient",
    "lvef_labels",
    "nested_fractions",
    "read_columns",
    "read_labels",
    "require_positives",
    "split_by_fold",
    "split_by_patient",
    "survival_labels",
]
