"""Which operators take most of a step."""

from __future__ import annotations

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def shares(step: Callable[[], object], count: int = 9) -> str:
    """Return the operators that take most of one call on the CPU, with their share of its time."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return ", ".join(f"{event.key} {100 * event.self_cpu_time_total / total:.0f} %" for event in events[:count])
