from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_ecg.tasks import supervised_contrastive_loss
from ssl_ecg.tasks.supervised_contrastive import label_overlap

NAN = math.nan
LABELS = [[1, 0, 1], [1, 0, 0], [0, 1, 0], [1, NAN, 1], [0, 0, 0], [NAN, NAN, NAN], [0, 1, 1]]


def overlap(one: list[float], other: list[float]) -> float:
    """Jaccard index over the classes known for both, class by class."""
    known = [(a, b) for a, b in zip(one, other) if not (math.isnan(a) or math.isnan(b))]
    either = sum(a == 1 or b == 1 for a, b in known)
    return sum(a == b == 1 for a, b in known) / either if either else 0.0


def by_loops(views: np.ndarray, targets: list[list[float]], temperature: float) -> float:
    """The definition, row by row in double precision; views [V, B, D]."""
    rows = [(row / np.linalg.norm(row), record) for view in views for record, row in enumerate(view)]
    losses = []
    for i, (anchor, record) in enumerate(rows):
        scores = {j: math.exp(anchor @ row / temperature) for j, (row, _) in enumerate(rows) if j != i}
        weights = {
            j: 1.0 if rows[j][1] == record else overlap(targets[record], targets[rows[j][1]]) for j in scores
        }  # another view of the same record is fully alike
        if sum(weights.values()) == 0:
            continue
        shares = [weights[j] * math.log(scores[j] / sum(scores.values())) for j in scores]
        losses.append(-sum(shares) / sum(weights.values()))
    return float(np.mean(losses)) if losses else 0.0


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_overlap_is_the_jaccard_index_over_known_labels() -> None:
    expected = [[overlap(one, other) for other in LABELS] for one in LABELS]
    torch.testing.assert_close(label_overlap(torch.tensor(LABELS)), torch.tensor(expected))
    assert expected[0][1] == 0.5
    assert expected[0][3] == 1.0  # the unknown class counts neither for nor against


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_equals_the_definition(views: int, temperature: float) -> None:
    embeddings, targets = drawn(views, 7, 5), torch.tensor(LABELS)
    loss = supervised_contrastive_loss(embeddings, targets, temperature)
    assert float(loss) == pytest.approx(by_loops(embeddings.double().numpy(), LABELS, temperature), rel=1e-5)
    if views == 1:
        assert torch.equal(supervised_contrastive_loss(embeddings[0], targets, temperature), loss)


def test_a_label_of_its_own_for_every_record_gives_ntxent_of_lightly() -> None:
    from lightly.loss import NTXentLoss

    views = drawn(2, 8, 6)
    torch.testing.assert_close(supervised_contrastive_loss(views, torch.eye(8), 0.2), NTXentLoss(0.2)(*views))


def test_rows_without_a_positive_do_not_count_but_repel() -> None:
    embeddings, targets = drawn(4, 5), torch.tensor([[1.0], [1.0], [0.0], [NAN]])
    loss = supervised_contrastive_loss(embeddings, targets)
    assert float(loss) == pytest.approx(by_loops(embeddings[None].double().numpy(), targets.tolist(), 0.1), rel=1e-5)
    assert loss > supervised_contrastive_loss(embeddings[:2], targets[:2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", ["no_positive", "one_row", "zero", "all_equal", "all_unknown", "huge"])
def test_loss_and_gradient_are_finite_at_the_edges(case: str, dtype: torch.dtype) -> None:
    embeddings, targets = drawn(5, 4), torch.tensor([[1.0, 0], [1, 1], [0, 1], [1, 0], [0, 0]])
    if case == "no_positive":
        targets[:] = 0
    elif case == "one_row":
        embeddings, targets = embeddings[:1], targets[:1]
    elif case == "zero":
        embeddings[:] = 0
    elif case == "all_equal":
        embeddings[:] = embeddings[0]
    elif case == "all_unknown":
        targets[:] = NAN
    else:
        embeddings *= 1e4
    leaf = embeddings.to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = supervised_contrastive_loss(leaf, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    if case in ("no_positive", "one_row", "all_unknown"):
        assert float(loss.detach()) == 0
        assert float(leaf.grad.abs().max()) == 0
    if case in ("zero", "all_equal"):
        assert float(loss.detach()) == pytest.approx(math.log(4), rel=1e-3)  # nothing can be told apart


def test_errors_name_argument_and_value() -> None:
    with pytest.raises(ValueError, match=r"embeddings \(3, 2\), targets \(4, 1\)"):
        supervised_contrastive_loss(torch.zeros(3, 2), torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"targets \(3,\)"):
        supervised_contrastive_loss(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="temperature=0"):
        supervised_contrastive_loss(torch.zeros(3, 2), torch.zeros(3, 1), temperature=0)
    with pytest.raises(ValueError, match=r"targets: hold 2\.0 and 0\.0"):
        supervised_contrastive_loss(torch.zeros(2, 2), torch.tensor([[2.0], [0.0]]))
