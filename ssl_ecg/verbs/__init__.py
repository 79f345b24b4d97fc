"""What a user can do: one file per verb, found by its name. Modules that begin with ``_`` hold what verbs share.

``list_`` and ``explain_`` end in ``_``, since Python has a ``list`` and the package a room ``explain``; on the command
line they are ``list`` and ``explain``.
"""

from pkgutil import iter_modules

from ssl_ecg.verbs.verb import VERBS, Verb, verb

for _module in iter_modules(__path__):
    if not _module.name.startswith("_") and _module.name not in ("verb", "results"):
        VERBS.offer(_module.name.rstrip("_"), f"{__name__}.{_module.name}:{_module.name}")

__all__ = ["VERBS", "Verb", "verb"]
