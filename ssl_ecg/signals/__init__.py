"""Filters, resampling, fixed length and normalisation of signals ``[..., samples]``."""

from ssl_ecg.signals.filters import bandpass, bandstop, condition, fix_length, normalise, resample
from ssl_ecg.signals.settings import SignalSettings

__all__ = ["SignalSettings", "bandpass", "bandstop", "condition", "fix_length", "normalise", "resample"]
