"""A finished model for other machines: one program of the whole, and the folder in which it travels."""

from ssl_ecg.deploy.bundle import Bundle, describe, write_bundle
from ssl_ecg.deploy.program import export_onnx, export_program, largest_difference, quantise, run_onnx, run_program

__all__ = [
    "Bundle",
    "describe",
    "export_onnx",
    "export_program",
    "largest_difference",
    "quantise",
    "run_onnx",
    "run_program",
    "write_bundle",
]
