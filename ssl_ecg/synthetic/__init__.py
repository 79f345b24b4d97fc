"""A cohort of 12-lead ECGs whose truth is known: patients, visits, conditions, latent factors and outcomes."""

from ssl_ecg.synthetic.cohort import CONDITIONS
from ssl_ecg.synthetic.synthesis import SyntheticEcgs, draw_ecgs, synthesize

__all__ = ["CONDITIONS", "SyntheticEcgs", "draw_ecgs", "synthesize"]
