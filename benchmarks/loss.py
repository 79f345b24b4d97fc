"""The patient-contrastive loss, batched against a loop over records. ``python benchmarks/loss.py``; under a minute."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_ecg.objectives import patient_contrastive_loss


def looped(view_a: Tensor, view_b: Tensor, patient: Tensor, temperature: float = 0.1) -> Tensor:
    """Compute the same loss record by record, as its formula reads; inputs [B, D], [B, D], [B]."""
    a, b = normalize(view_a), normalize(view_b)
    diagonal: list[Tensor] = []
    others: dict[str, list[Tensor]] = {"above": [], "below": []}
    for i in range(len(patient)):
        row = (b @ a[i] / temperature).log_softmax(0)  # p_ij over j
        column = (a @ b[i] / temperature).log_softmax(0)  # q_ji over j
        diagonal += [row[i], column[i]]
        for j in (patient == patient[i]).nonzero().flatten().tolist():
            if j > i:
                others["above"].append(row[j])
                others["below"].append(column[j])
    terms = [-torch.stack(diagonal).mean() * 2]
    terms += [-torch.stack(found).mean() for found in others.values() if found]
    return torch.stack(terms).sum() / (1 + len(terms))


def seconds(run: Callable[[], Tensor], repeats: int) -> list[float]:
    """Return the processor time of each of several calls, forward and backward."""
    durations = []
    for _ in range(repeats):
        started = time.process_time()
        run().backward()
        durations.append(time.process_time() - started)
    return durations


def main() -> None:
    """Time both in turn on the same embeddings; two records of each patient, 128 dimensions."""
    torch.set_num_threads(1)
    print(f"load average at the start: {os.getloadavg()[0]:.1f}; one thread")
    for batch in (256, 1024):
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.randn(batch, 128, generator=generator, requires_grad=True) for _ in range(2))
        patient = torch.arange(batch) // 2
        batched, loop = patient_contrastive_loss(a, b, patient), looped(a, b, patient)
        fast, slow = [], []
        for _ in range(3):
            fast += seconds(lambda: patient_contrastive_loss(a, b, patient), 10)  # noqa: B023
            slow += seconds(lambda: looped(a, b, patient), 1)  # noqa: B023
        print(
            f"B={batch}: batched {1000 * median(fast):.1f} ms, loop {1000 * median(slow):.0f} ms, "
            f"ratio {median(slow) / median(fast):.0f}; values {batched.item():.6f} and {loop.item():.6f}"
        )


if __name__ == "__main__":
    main()
