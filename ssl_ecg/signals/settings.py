"""What is done to every record before it enters an archive, written down so that it can travel with the data."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from annotated_types import Gt, MinLen
from pydantic import AfterValidator, AllowInfNan, BeforeValidator, model_validator

from ssl_ecg.records.record import LEADS, canonical_lead
from ssl_ecg.settings import Settings

Normalisation = Literal["lead", "record", "none"]
Positive = Annotated[float, Gt(0), AllowInfNan(False)]
Mains = Annotated[Literal[50, 60], BeforeValidator(lambda hum: int(hum) if hum in ("50", "60") else hum)]


class SignalSettings(Settings):
    """Leads, rate, length, filters and normalisation of the signals in an archive.

    Example:
        >>> SignalSettings(sampling_rate=500).samples
        5000
    """

    leads: Annotated[tuple[Annotated[str, AfterValidator(canonical_lead)], ...], MinLen(1)] = LEADS
    """names of the leads, in the order in which they are stored"""
    sampling_rate: Positive = 100.0
    """samples a second, in Hz"""
    duration: Positive = 10.0
    """seconds of every signal; longer records are cut to their first seconds"""
    min_duration: Positive = 5.0
    """records shorter than this many seconds are rejected, others are zero-padded to ``duration``"""
    band: tuple[Positive, Positive] | None = (0.5, 40.0)
    """corner frequencies of the zero-phase Butterworth band-pass in Hz, or null for no filter"""
    mains: Annotated[Literal[50, 60], BeforeValidator(lambda hum: int(hum) if hum in ("50", "60") else hum)] | None = (
        None
    )
    """frequency of the mains in Hz to be stopped, or null; above ``band`` it is hardly needed"""
    normalise: Normalisation = "lead"
    """how networks scale what was recorded: z-scored by lead or by record, or "none" (millivolts)"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.leads)) < len(self.leads):
            raise ValueError(f"leads={list(self.leads)}: name each lead once")
        if self.min_duration > self.duration:
            raise ValueError(f"min_duration={self.min_duration:g}: choose at most duration={self.duration:g}")
        if abs(self.sampling_rate * self.duration - self.samples) > 1e-6:
            raise ValueError(
                f"duration={self.duration:g}: choose one that holds a whole number of samples at "
                f"sampling_rate={self.sampling_rate:g}"
            )
        nyquist = self.sampling_rate / 2
        if self.band is not None and not self.band[0] < self.band[1] < nyquist:
            raise ValueError(f"band={list(self.band)}: choose low < high < {nyquist:g} Hz, half the sampling rate")
        return self

    @property
    def samples(self) -> int:
        """Number of samples T of every signal."""
        return round(self.sampling_rate * self.duration)
