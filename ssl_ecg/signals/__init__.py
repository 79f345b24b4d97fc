"""Filters, resampling and fixed length of signals ``[..., samples]``, and what of them was recorded.

What runs on the device, normalisation and the spectrum, is in modules of its own, so that ingest needs no torch.
"""

from ssl_ecg.signals.filters import bandpass, bandstop, condition, fix_length, resample
from ssl_ecg.signals.settings import SignalSettings
from ssl_ecg.signals.signals import Signals

__all__ = ["SignalSettings", "Signals", "bandpass", "bandstop", "condition", "fix_length", "resample"]
