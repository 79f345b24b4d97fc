"""The patient-contrastive loss alone, against loops, and its share of a step. ``python benchmarks/loss.py``.

A minute or two. What is compared is run in turn, and ratios are medians of ratios of neighbours, so that other load
changes them little; milliseconds it does change.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import combinations, islice
from statistics import median

import torch
from steps import in_turn, ratio
from torch import Tensor
from torch.nn.functional import normalize

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective, multiview_contrastive_loss

# Every pair of views costs the loop the same, so a few tell the time of all.
TIMED_PAIRS = 4
EMBEDDINGS = (128, 32)  # the default, and the smallest of CLOCS
SAMPLES = 5000


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


def drawn(count: int, batch: int, embedding: int = EMBEDDINGS[0]) -> tuple[Tensor, Tensor]:
    """Return embeddings [V, B, D] and patients [B] with two records of each."""
    views = torch.randn(count, batch, embedding, generator=torch.Generator().manual_seed(0), requires_grad=True)
    return views, torch.arange(batch) // 2


def floor(count: int, batch: int) -> Callable[[], object]:
    """Return the three matrix products that the loss cannot do without, in the best order: one a view and those after.

    Similarities, and the gradient of either side.
    """
    views = torch.randn(count, batch, EMBEDDINGS[0])
    rest = views.flatten(0, 1)

    def products() -> None:
        for first in range(count - 1):
            a, b = views[first], rest[(first + 1) * batch :]
            similarity = a @ b.T
            similarity @ b
            similarity.T @ a

    return products


def compare_with_loops() -> None:
    """Print both times and the time of the matrix products alone."""
    for batch in (256, 1024):
        single_pair = 0.0
        for count in (2, 24):
            views, patient = drawn(count, batch)
            pairs = count * (count - 1) // 2
            timed = min(pairs, TIMED_PAIRS)
            seconds = in_turn(
                {
                    "batched": lambda: multiview_contrastive_loss(views, patient).backward(),  # noqa: B023
                    "loop": lambda: looped_over_pairs(views, patient, timed).backward(),  # noqa: B023
                    "products": floor(count, batch),
                },
                rounds=5 if count == 2 else 2,
            )
            fast = median(seconds["batched"])
            single_pair = single_pair or fast
            print(
                f"B={batch}, {count} views, {pairs} pairs: batched {1000 * fast:.1f} ms, "
                f"{ratio(seconds, 'batched', 'products'):.2f} times its matrix products alone; "
                f"loop {1000 * median(seconds['loop']) * pairs / timed:.0f} ms"
                f"{'' if timed == pairs else f' (from {timed} pairs)'}, "
                f"{ratio(seconds, 'loop', 'batched') * pairs / timed:.0f} times batched; "
                f"batched: {fast / single_pair:.0f} times the time of 2 views"
            )
            if count == 2:
                batched, loop = multiview_contrastive_loss(views, patient), looped(*views, patient)
                print(f"    values {batched.item():.6f} and {loop.item():.6f}")


def step(objective_name: str, leads: int, batch: int, embedding: int) -> Callable[[], object]:
    """Return a step, forward, backward and Adam, of the CLOCS-sized network on signals of 2 x 2500 samples."""
    torch.manual_seed(0)
    backbone = create_backbone("lead_wise", in_leads=leads)
    single = {"leads": "single"} if objective_name == "cmsc" else {}
    objective = create_objective(objective_name, backbone, 250.0, embedding=embedding, augment={}, **single)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-4)
    data = {"signal": torch.randn(batch, leads, SAMPLES), "patient": torch.arange(batch) // 2}

    def run() -> None:
        optimizer.zero_grad()
        objective(data)["loss"].backward()
        optimizer.step()

    return run


def compare_with_steps(embedding: int) -> None:
    """Print the loss's share of a step: CMSC of single leads (2 views) and CMSMLC of 12 leads (24 views)."""
    seconds = in_turn(
        {
            name: run
            for count, (objective, leads) in ((2, ("cmsc", 1)), (24, ("cmsmlc", 12)))
            for views, patient in [drawn(count, 256, embedding)]
            for name, run in (
                (f"step of {count} views", step(objective, leads, 256, embedding)),
                (f"loss of {count} views", lambda v=views, p=patient: multiview_contrastive_loss(v, p).backward()),
            )
        },
        rounds=5,
    )
    for count in (2, 24):
        took = median(seconds[f"step of {count} views"])
        share = ratio(seconds, f"loss of {count} views", f"step of {count} views")
        print(
            f"CLOCS-sized step, B=256, embedding {embedding}, {count} views: {took:.3f} s, "
            f"{256 / took:.0f} records a core-second, {100 * share:.1f} % of it the loss"
        )
    print(f"    24 views take {ratio(seconds, 'step of 24 views', 'step of 2 views'):.1f} times the time of 2")


def main() -> None:
    """Run both comparisons."""
    torch.set_num_threads(1)
    print(f"load average at the start: {os.getloadavg()[0]:.1f}; one thread")
    for embedding in EMBEDDINGS:
        compare_with_steps(embedding)
    compare_with_loops()


if __name__ == "__main__":
    main()
