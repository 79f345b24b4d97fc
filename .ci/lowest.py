"""Print constraints that hold every direct dependency at the lowest version that pyproject.toml allows.

torch stays as constraints.txt has it: its lowest release has no CPU build on the registry.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEPT = {"torch"}

project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
floors = dict(re.match(r"([\w.-]+)>=([\w.]+)", line).groups() for line in project["dependencies"])
tested = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
for name, version in floors.items():
    print(f"{name}=={tested[name] if name in KEPT else version}")
