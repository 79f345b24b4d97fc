"""What a person looks at: ECGs, and what a network makes of them."""

from ssl_ecg.explain.attention import attention_rollout
from ssl_ecg.explain.beats import beat_shares
from ssl_ecg.explain.ecg_paper import ecg_figure
from ssl_ecg.explain.grad_cam import grad_cam
from ssl_ecg.explain.label_attention import label_attention
from ssl_ecg.explain.lead_shares import lead_shares
from ssl_ecg.explain.reconstruction import reconstruction_figure
from ssl_ecg.views import r_peaks

__all__ = [
    "attention_rollout",
    "beat_shares",
    "ecg_figure",
    "grad_cam",
    "label_attention",
    "lead_shares",
    "r_peaks",
    "reconstruction_figure",
]
