"""The patient-contrastive loss, batched against loops over records and pairs of views. ``python benchmarks/loss.py``.

Some two minutes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import combinations, islice
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_ecg.objectives import multiview_contrastive_loss

# Every pair of views costs the loop the same, so a few tell the time of all.
TIMED_PAIRS = 4


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


def looped_over_pairs(views: Tensor, patient: Tensor, pairs: int) -> Tensor:
    """Return the mean of the looped loss over the first ``pairs`` pairs of views [V, B, D]."""
    return torch.stack([looped(a, b, patient) for a, b in islice(combinations(views, 2), pairs)]).mean()


def seconds(run: Callable[[], Tensor], repeats: int) -> float:
    """Return the median processor time of several calls, forward and backward, after one to warm up."""
    durations = []
    for _ in range(repeats + 1):
        started = time.process_time()
        run().backward()
        durations.append(time.process_time() - started)
    return median(durations[1:])


def main() -> None:
    """Time both in turn on the same embeddings; two records of each patient, 128 dimensions."""
    torch.set_num_threads(1)
    print(f"load average at the start: {os.getloadavg()[0]:.1f}; one thread")
    for batch in (256, 1024):
        single_pair = 0.0
        for count in (2, 24):
            generator = torch.Generator().manual_seed(0)
            views = torch.randn(count, batch, 128, generator=generator, requires_grad=True)
            patient = torch.arange(batch) // 2
            pairs = count * (count - 1) // 2
            timed = min(pairs, TIMED_PAIRS)
            fast = seconds(lambda: multiview_contrastive_loss(views, patient), 20 if count == 2 else 3)  # noqa: B023
            slow = seconds(lambda: looped_over_pairs(views, patient, timed), 2) * pairs / timed  # noqa: B023
            single_pair = single_pair or fast
            print(
                f"B={batch}, {count} views, {pairs} pairs: batched {1000 * fast:.1f} ms, loop {1000 * slow:.0f} ms"
                f"{'' if timed == pairs else f' (from {timed} pairs)'}, ratio {slow / fast:.0f}; "
                f"batched: {fast / single_pair:.0f} times the time of 2 views"
            )
            if count == 2:
                batched, loop = multiview_contrastive_loss(views, patient), looped(*views, patient)
                print(f"    values {batched.item():.6f} and {loop.item():.6f}")


if __name__ == "__main__":
    main()
