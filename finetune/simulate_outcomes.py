"""Simulate outcomes of PTB-XL's ECGs: ``python finetune/simulate_outcomes.py ARCHIVE OUT [--seed 0]``.

No open archive of 12-lead ECGs has outcomes. These are made up from age and from real statements; they show what a
network can find in real signals, and nothing about patients.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import ssl_ecg
from ssl_ecg.evaluation import concordance_index, macro_auroc
from ssl_ecg.labels.simulated_outcomes import simulate_lvef, simulate_outcomes

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("archive", help="archive with PTB-XL's records")
parser.add_argument("out", help="folder for simulated_af_survival.csv and simulated_low_lvef.csv")
parser.add_argument("--statements", help="label table; by default labels/ptbxl_all.csv of the archive")
parser.add_argument("--seed", type=int, default=0, help="of everything random")


def main() -> None:
    """Write both tables, and say how well the truth itself ranks."""
    options = parser.parse_args()
    archive, out = ssl_ecg.open_archive(options.archive), Path(options.out)
    statements = options.statements or archive.folder / "labels" / "ptbxl_all.csv"
    out.mkdir(parents=True, exist_ok=True)
    survival = simulate_outcomes(archive, statements, options.seed)
    survival.to_csv(out / "simulated_af_survival.csv", index=False, float_format="%.6g")
    incident = survival[survival["prevalent"] == 0]
    follow_up = incident["time_days"], incident["event"]
    best = concordance_index(*follow_up, incident["true_log_hazard"], horizon=1825)[0]
    logging.info(
        "%d ECGs, %d simulated events, C-index of the true hazard %.3f", len(incident), sum(follow_up[1]), best
    )
    lvef = simulate_lvef(archive, statements, options.seed)
    lvef.to_csv(out / "simulated_low_lvef.csv", index=False, float_format="%.6g")
    best = macro_auroc(lvef[["low_lvef"]], lvef[["true_probability"]])
    logging.info("%d ECGs, %d simulated low LVEF, AUROC of the truth %.3f", len(lvef), sum(lvef["low_lvef"]), best)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
