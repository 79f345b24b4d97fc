"""Networks: signal in, features out. Every file here registers itself."""

from importlib import import_module
from pkgutil import iter_modules

from ssl_ecg.backbones.base import Backbone
from ssl_ecg.backbones.encoder import Encoder, load_encoder, save_encoder
from ssl_ecg.backbones.registry import BACKBONES, create_backbone, list_backbones, register
from ssl_ecg.backbones.sharing import strip_patients
from ssl_ecg.backbones.tokens import TokenBackbone

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "BACKBONES",
    "Backbone",
    "Encoder",
    "TokenBackbone",
    "create_backbone",
    "list_backbones",
    "load_encoder",
    "register",
    "save_encoder",
    "strip_patients",
]
