"""Endless simulated ECGs, a batch at a time and on any device, with dense targets to learn from."""

from ssl_ecg.synthetic.simulator.conditions import AGES, AXES, CONDITIONS
from ssl_ecg.synthetic.simulator.meanings import MEANINGS, Meaning, meanings_of, simulated_labels
from ssl_ecg.synthetic.simulator.simulate import AMPLITUDES, INTERVALS, WAVES, SimulatedEcgs, simulate

__all__ = [
    "AGES",
    "AMPLITUDES",
    "AXES",
    "CONDITIONS",
    "INTERVALS",
    "MEANINGS",
    "WAVES",
    "Meaning",
    "SimulatedEcgs",
    "meanings_of",
    "simulate",
    "simulated_labels",
]
