"""A folder that continues: identity, lock, atomic files, results, the model card. Knows no ECG."""

from ssl_ecg.runs.card import Table, markdown_table, model_card
from ssl_ecg.runs.files import (
    previous_of,
    sha256,
    whole_folder,
    write_atomically,
    write_csv,
    write_json,
    written_atomically,
)
from ssl_ecg.runs.folder import FolderInUseError, Run, claim, differences, goes_on, lock, locked
from ssl_ecg.runs.results import read_metrics, write_result
from ssl_ecg.runs.shipped import SHIPPED, folder_of
from ssl_ecg.runs.site_key import ecg_hash, patient_hash, site, site_key
from ssl_ecg.runs.spreadsheets import escaped, unescaped

__all__ = [
    "SHIPPED",
    "FolderInUseError",
    "Run",
    "Table",
    "claim",
    "differences",
    "ecg_hash",
    "escaped",
    "folder_of",
    "goes_on",
    "lock",
    "locked",
    "markdown_table",
    "model_card",
    "patient_hash",
    "previous_of",
    "read_metrics",
    "sha256",
    "site",
    "site_key",
    "unescaped",
    "whole_folder",
    "write_atomically",
    "write_csv",
    "write_json",
    "write_result",
    "written_atomically",
]
