"""What a person looks at: ECGs, and what a network makes of them."""

from ssl_ecg.explain.reconstruction import reconstruction_figure

__all__ = ["reconstruction_figure"]
