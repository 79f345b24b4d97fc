"""The verbs on the command line: ``ssl-ecg VERB PATHS... [name=value ...]``.

Settings come from ``configs/``, composed by Hydra; each verb's file says what can be set. ``name=value`` changes one,
``group=name`` chooses another file of a group (``objective=cmsc``, ``backbone=xresnet1d34``, ``split=ptbxl``).
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from ssl_ecg import verbs as api
from ssl_ecg.cli.configuration import NEW_NETWORK, load_config, without_encoder
from ssl_ecg.cli.verbs import RUN

PATHS = {
    "ingest": ("source", "archive"),
    "synthesize": ("archive",),
    "label_lvef": ("archive", "measurements", "out"),
    "pretrain": ("archive", "out"),
    "probe": ("encoder", "archive", "labels", "out"),
    "finetune": ("encoder", "archive", "labels", "out"),
    "evaluate": ("model", "archive", "labels", "out"),
    "compare": ("encoder", "archive", "labels", "out"),
    "ablate": ("archive", "labels", "out"),
}
SUMMARIES = {
    "ingest": "many ECG files -> one training-ready archive, with a report of what was rejected and why",
    "synthesize": "the embedded synthetic archive, with labels and ground truth",
    "label_lvef": "archive + measured ejection fractions -> a label table, with a count of what was left out",
    "pretrain": "unlabelled archive -> an encoder",
    "probe": "frozen encoder (none: random weights) + labels -> linear-probe metrics",
    "finetune": "encoder (none: random weights) + labels -> a classifier with its metrics and predictions",
    "evaluate": "finetuned model + a second archive and its labels -> metrics and figures, nothing tuned",
    "compare": "does pretraining pay here? arms x label fractions x seeds -> curves, CSV, HTML report",
    "ablate": "which pretraining is better? variants x seeds -> probe and finetuning, differences, CSV, Markdown",
}


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    top = argparse.ArgumentParser(prog="ssl-ecg", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, paths in PATHS.items():
        settings = (api.config_folder() / f"{verb}.yaml").read_text(encoding="utf-8")
        sub = verbs.add_parser(
            verb,
            help=SUMMARIES[verb],
            description=SUMMARIES[verb],
            epilog=f"settings:\n{settings}",
            formatter_class=argparse.RawTextHelpFormatter,
        )
        for path in paths:
            sub.add_argument(path, metavar=path.upper())
        sub.add_argument("overrides", nargs="*", metavar="name=value", help="settings to change")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; errors that a user can mend are one line and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = vars(parser().parse_args(arguments))
    verb, overrides = options.pop("verb"), options.pop("overrides")
    if verb in NEW_NETWORK and options["encoder"] == "none":
        options["encoder"], overrides = None, without_encoder(verb, overrides)
    try:
        RUN[verb](load_config(verb, overrides), **options, command=shlex.join(["ssl-ecg", *arguments]))
    except (ValueError, TypeError, OSError, HydraException, OmegaConfBaseException) as error:
        logging.getLogger(__name__).debug("failed", exc_info=True)
        message = " ".join(str(error).split())
        errors = Console(stderr=True, soft_wrap=True)
        errors.print(f"ssl-ecg {verb}: {message}", style="red", markup=False, highlight=False)
        return 2
    return 0
