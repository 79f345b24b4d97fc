"""A step of somebody else's code against ours, in turn in one process. ``python benchmarks/against.py PATH``.

PATH is a Python file, kept beside the other code and not here, that says what is alike and makes a step of theirs:

    OURS = {"objective": {...}, "backbone": {...}}    # as ``ssl_ecg.pretrain`` takes them
    SHAPE = (128, 12, 1000)                           # batch, leads, samples

    def make_step(signal, patient):                   # float32 [B, L, T], int64 [B]
        ...
        return step                                   # called without arguments: forward, backward, optimiser

It is run: name only files that you trust. Nothing else quotes numbers of other people's code.
"""

from __future__ import annotations

import argparse
import json
import runpy
from statistics import median

import torch
from steps import AUTOCAST, Step, in_turn, machine, ratios

from ssl_ecg.training import PretrainSettings


def main() -> None:
    """Print, for each precision, how many times as long theirs takes: least, median and most of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help="Python file with OURS, SHAPE and make_step")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    theirs = runpy.run_path(given.path)
    signal, patient = torch.randn(*theirs["SHAPE"]), torch.arange(theirs["SHAPE"][0]) // 2
    print(json.dumps(machine()))
    for precision, autocast in AUTOCAST.items():
        step = theirs["make_step"](signal, patient)

        def other(step=step, autocast=autocast) -> None:  # type: ignore[no-untyped-def]
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                step()

        ours = Step(PretrainSettings(**theirs["OURS"]), signal, patient, precision)
        seconds = in_turn({"theirs": other, "ours": ours}, given.rounds)
        each = ratios(seconds, "theirs", "ours")
        speed = {name: len(signal) / median(values) for name, values in seconds.items()}
        print(
            f"{precision}: theirs {speed['theirs']:.0f}, ours {speed['ours']:.0f} ECG/s of one core; theirs takes "
            f"{each[0]:.2f} / {median(each):.2f} / {each[-1]:.2f} times as long"
        )


if __name__ == "__main__":
    main()
