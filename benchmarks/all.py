"""One table of how fast everything is, on one thread of this machine. ``python benchmarks/all.py [--json FILE]``.

Some minutes. Processor time, not wall-clock time, so that other load changes it little; medians of several calls. What
is compared is run in turn. Vendor formats are read where SSL_ECG_DATA names a folder with ``vendor/``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from steps import RATE, Step, in_turn, machine, ratio

from ssl_ecg.archive import Archive, ingest, open_archive
from ssl_ecg.archive.prepared import prepare_files
from ssl_ecg.backbones import Encoder
from ssl_ecg.evaluation import Bootstrap
from ssl_ecg.objectives import list_objectives
from ssl_ecg.records import LEADS as NAMES
from ssl_ecg.signals.normalisation import normalise
from ssl_ecg.synthetic import draw_ecgs, synthesize
from ssl_ecg.tasks import Classifier, create_task
from ssl_ecg.training import FinetuneSettings, PretrainSettings
from ssl_ecg.training.finetuning import FinetuneModule
from ssl_ecg.views import Augment

Row = dict[str, Any]
CLASSES = tuple("abcde")


def core_seconds(run: Callable[[], object], repeats: int = 1) -> float:
    """Return the median processor time of a call, that of the processes it starts included."""
    found = []
    for _ in range(repeats):
        before = time.process_time() + sum(os.times()[2:4])
        run()
        found.append(time.process_time() + sum(os.times()[2:4]) - before)
    return median(found)


def row(part: str, what: str, rate: float, unit: str = "ECG/s", **more: Any) -> Row:
    """Return a row of the table."""
    return {"part": part, "what": what, "rate": rate, "unit": unit, **more}


def write_wfdb(folder: Path, signals: np.ndarray, sampling_rate: int, copies: int) -> int:
    """Write signals [n, 12, T] in millivolts, each ``copies`` times, and return how many files were written."""
    folder.mkdir()
    for number, signal in enumerate(np.tile(signals, (copies, 1, 1))):
        name = f"{number:05d}"
        np.rint(signal.T * 1000).astype("<i2").tofile(folder / f"{name}.dat")
        lines = [f"{name} 12 {sampling_rate} {signal.shape[1]}"]
        lines += [f"{name}.dat 16 1000(0)/mV 16 0 0 0 0 {lead}" for lead in NAMES]
        (folder / f"{name}.hea").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return copies * len(signals)


def ingesting(folder: Path, archive: Archive) -> Iterator[Row]:
    """Time files of each format on their way into an archive of 100 Hz."""
    for rate in (100, 500):
        signals, seconds = draw_ecgs(50, sampling_rate=rate).signal, {}
        for copies in (4, 20):
            source, out = folder / f"wfdb{rate}_{copies}", folder / f"archive{rate}_{copies}"
            count = write_wfdb(source, signals, rate, copies)
            seconds[count] = core_seconds(lambda source=source, out=out: ingest(source, out, workers=1, progress=False))
        (few, short), (many, long) = seconds.items()
        yield row("ingest", f"WFDB of {rate} Hz, {few} records, start of the process included", few / short)
        yield row("ingest", f"WFDB of {rate} Hz, the {many - few} after them", (many - few) / (long - short))
    vendor = Path(os.environ.get("SSL_ECG_DATA", "")) / "vendor"
    for file in sorted(path for path in vendor.glob("*/*") if path.is_file()):
        prepared = list(prepare_files(file, archive.settings))
        if any(one.signals is None for one in prepared):
            continue  # what a format costs is not seen where the record is refused
        seconds = core_seconds(lambda file=file: [list(prepare_files(file, archive.settings)) for _ in range(3)], 3) / 3
        yield row("ingest", f"{file.parent.name}: {file.name}", len(prepared) / seconds)


def loading(archive: Archive) -> Iterator[Row]:
    """Time what happens to a batch before it is trained on."""
    batches = iter(np.random.default_rng(0).integers(len(archive), size=(96, 256)))
    read = archive.read(next(batches))
    parts = [torch.from_numpy(part) for part in read]
    yield row("data", "read a random batch, as stored", 256 / core_seconds(lambda: archive.stored(next(batches)), 32))
    yield row("data", "read a random batch, in millivolts", 256 / core_seconds(lambda: archive.read(next(batches)), 32))
    scaled = core_seconds(lambda: normalise(*parts, archive.settings.normalise), 8)
    yield row("data", "normalise a batch, on the device", 256 / scaled)
    augment = Augment(PretrainSettings().objective.options["augment"], RATE, NAMES)
    yield row("data", "augment a batch as CMSC does", 256 / core_seconds(lambda: augment(*parts), 3))


def pretraining(archive: Archive, batch: int, rounds: int, objectives: list[str]) -> Iterator[Row]:
    """Time a step of every objective with its own network, float32 and bfloat16 in turn."""
    rows = np.arange(batch) % len(archive)
    parts = [torch.from_numpy(part) for part in archive.read(rows)]
    signal, patient = normalise(*parts, archive.settings.normalise), torch.from_numpy(archive.patient[rows])
    # What a step waits for where nobody reads ahead.
    waiting = core_seconds(lambda: archive.stored(rows), 9)
    for name in objectives:
        settings = PretrainSettings(objective=name)
        seconds = in_turn({p: Step(settings, signal, patient, p) for p in ("float32", "bf16")}, rounds)
        faster = ratio(seconds, "float32", "bf16")
        for precision, values in seconds.items():
            share = waiting / (waiting + median(values))
            what = f"{name}, {settings.backbone.name}, {precision}"
            more = {"bf16_gain": faster} if precision == "bf16" else {}
            yield row("pretraining step", what, batch / median(values), precision=precision, waiting=share, **more)


def labelled(archive: Archive, rounds: int) -> Iterator[Row]:
    """Time what is done with labels: a finetuning step, validation, the probe, intervals, one ECG."""
    torch.manual_seed(0)
    task = create_task("arrhythmia", CLASSES)
    encoder = Encoder("xresnet1d18", {}, archive.settings)
    settings = FinetuneSettings()
    module = FinetuneModule(Classifier(encoder, task), settings)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
    records = np.arange(settings.batch_size) % len(archive)
    batch = {name: torch.from_numpy(part) for name, part in archive.read(records)._asdict().items()}
    batch["targets"] = (torch.rand(len(records), len(CLASSES)) < 0.3).float()

    def train() -> None:
        module.train()
        optimizer.zero_grad()
        module.training_step(batch, 0).backward()
        optimizer.step()

    @torch.inference_mode()
    def validate() -> None:
        module.eval()
        module.model(batch["signal"], batch["recorded"], batch["leads"])

    def in_bfloat16(run: Callable[[], None]) -> Callable[[], None]:
        return torch.autocast("cpu", torch.bfloat16)(run)

    runs = {"float32": (train, validate), "bf16": (in_bfloat16(train), in_bfloat16(validate))}
    for precision, (step, score) in runs.items():
        seconds = in_turn({"step": step, "validation": score}, rounds)
        size = settings.batch_size
        yield row("finetuning", f"step, crops of {settings.crop} s, {precision}", size / median(seconds["step"]))
        yield row("finetuning", f"validation, whole records, {precision}", size / median(seconds["validation"]))
        for train_records, scored in ((1281, 159), (17418, 2183), (174, 2183)):
            steps = settings.steps_of(max(1, train_records // size))
            often = settings.evaluations_of(steps * size * module.crop, scored * archive.samples)
            spent = often * scored / size * median(seconds["validation"])
            what = f"validation's share, {train_records:,} records and {scored:,} of validation, {precision}"
            share = 100 * spent / (spent + steps * median(seconds["step"]))
            yield row("finetuning", f"{what}: {often} evaluations in {steps:,} steps", share, "%")

    random = np.random.default_rng(0)
    features, targets = random.normal(size=(1440, encoder.width)), random.random((1440, len(CLASSES))) < 0.3
    features[:, : len(CLASSES)] += targets
    targets = targets.astype(np.float32)
    seconds = core_seconds(lambda: task.fit_probe(features[:1281], targets[:1281], features[1281:], targets[1281:]))
    yield row("probe", f"fit, 1,281 records, {encoder.width} features, 5 classes", seconds, "s")
    labels = (random.random((2198, 71)) < np.geomspace(0.003, 0.4, 71)).astype(float)
    bootstrap = Bootstrap(labels, np.arange(len(labels)), replicates=1000)
    scores = labels + random.normal(size=labels.shape)
    seconds = core_seconds(lambda: bootstrap.score(scores))
    yield row("bootstrap", "a run, 71 classes, 2,198 records, 1,000 draws", seconds, "s")
    model, one = module.model.eval(), archive.read([0])
    seconds = core_seconds(lambda: [model.predict(*one) for _ in range(5)], 3) / 5
    yield row("one ECG", "xresnet1d18, torch, float32", 1000 * seconds, "ms")


def show(found: Row) -> None:
    """Print a row."""
    more = f", waits {100 * found['waiting']:.1f} %" if "waiting" in found else ""
    more += f", {found['bf16_gain']:.2f} times float32" if "bf16_gain" in found else ""
    print(f"{found['part']:16}  {found['what']:82} {found['rate']:>10,.4g} {found['unit']}{more}", flush=True)


def main() -> None:
    """Print the table; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the same as JSON")
    parser.add_argument("--batch", type=int, default=32, help="ECGs of a pretraining step")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds of a step")
    parser.add_argument("--objectives", nargs="*", default=list_objectives())
    given = parser.parse_args()
    torch.set_num_threads(1)
    where, started = machine(), time.perf_counter()
    print(json.dumps(where))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kept: list[Archive] = []
        seconds = core_seconds(lambda: kept.append(synthesize_archive(folder / "synthetic")))
        archive = kept[0]
        rows.append(row("data", "synthesize, 100 Hz, 10 s", len(archive) / seconds))
        show(rows[0])
        for found in chain(
            loading(archive),
            labelled(archive, given.rounds),
            pretraining(archive, given.batch, given.rounds, given.objectives),
            ingesting(folder, archive),
        ):
            show(found)
            rows.append(found)
    print(f"{time.perf_counter() - started:.0f} s in all; load average at the end: {os.getloadavg()[0]:.1f}")
    if given.json:
        given.json.write_text(json.dumps({"machine": where, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def synthesize_archive(folder: Path) -> Archive:
    """Return 512 synthetic ECGs."""
    return open_archive(synthesize(folder, records=512, workers=1))


if __name__ == "__main__":
    main()
