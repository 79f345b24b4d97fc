"""What is done to every record before it enters an archive, written down so that it can travel with the data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from ssl_ecg.records.record import LEADS, canonical_lead

NORMALISATIONS = ("lead", "record", "none")


@dataclass(frozen=True)
class SignalSettings:
    """Leads, rate, length, filters and normalisation of the signals in an archive.

    Attributes:
        leads: Canonical names of the leads, in the order in which they are stored.
        sampling_rate: Samples a second, in Hz.
        duration: Length of every signal in seconds; longer records are cut to their first seconds.
        min_duration: Records shorter than this many seconds are rejected, others are zero-padded to ``duration``.
        band: Corner frequencies of the zero-phase Butterworth band-pass in Hz, or None for no filter.
        mains: Frequency of the mains in Hz to be stopped (50 or 60), or None. Above ``band`` it is hardly needed.
        normalise: How signals are scaled when they are read: ``"lead"``, ``"record"`` or ``"none"`` (millivolts).

    Raises:
        ValueError: If a value is impossible; the message names the argument and the value.

    Example:
        >>> SignalSettings(sampling_rate=500).samples
        5000
    """

    leads: tuple[str, ...] = LEADS
    sampling_rate: float = 100.0
    duration: float = 10.0
    min_duration: float = 5.0
    band: tuple[float, float] | None = (0.5, 40.0)
    mains: float | None = None
    normalise: str = "lead"

    def __post_init__(self) -> None:
        object.__setattr__(self, "leads", tuple(canonical_lead(lead) for lead in self.leads))
        if not self.leads or len(set(self.leads)) < len(self.leads):
            raise ValueError(f"leads must be at least one name and all different, got {self.leads!r}")
        for name in ("sampling_rate", "duration", "min_duration"):
            if not 0 < (value := getattr(self, name)) < float("inf"):
                raise ValueError(f"{name} must be a positive number, got {value!r}")
            object.__setattr__(self, name, float(value))
        if self.min_duration > self.duration:
            raise ValueError(f"min_duration must be at most duration={self.duration}, got {self.min_duration}")
        if abs(self.sampling_rate * self.duration - self.samples) > 1e-6:
            raise ValueError(
                "duration x sampling_rate must be a whole number of samples, "
                f"got {self.duration} x {self.sampling_rate}"
            )
        nyquist = self.sampling_rate / 2
        if self.band is not None:
            if len(self.band) != 2 or not 0 < self.band[0] < self.band[1] < nyquist:
                raise ValueError(f"band must be (low, high) with 0 < low < high < {nyquist:g} Hz, got {self.band!r}")
            object.__setattr__(self, "band", (float(self.band[0]), float(self.band[1])))
        if self.mains is not None and self.mains not in (50, 60):
            raise ValueError(f"mains must be 50, 60 or None, got {self.mains!r}")
        if self.normalise not in NORMALISATIONS:
            raise ValueError(f"normalise must be one of {', '.join(NORMALISATIONS)}, got {self.normalise!r}")

    @property
    def samples(self) -> int:
        """Number of samples T of every signal."""
        return round(self.sampling_rate * self.duration)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain lists, numbers and strings, ready for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SignalSettings:
        """Rebuild settings from :meth:`to_dict`.

        Raises:
            ValueError: If a name is unknown or a value impossible.
        """
        if unknown := sorted(set(values) - {f.name for f in fields(cls)}):
            raise ValueError(f"unknown signal settings: {', '.join(unknown)}")
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)
