"""Features in two dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from ssl_ecg.evaluation import plane


def test_the_plane_keeps_what_varies_most() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 200))
    # Four columns are one direction, two another: of unit variance each, they hold 4/6 and 2/6 of all of it.
    features = np.stack([first, -first, 10 * first, first + 5, second, 3 * second], axis=1)
    table = plane(features, np.zeros((200, 1)), ["a"])
    assert abs(np.corrcoef(table["first"], first)[0, 1]) > 0.98
    assert abs(np.corrcoef(table["second"], second)[0, 1]) > 0.98
    assert table["first_share"][0] == pytest.approx(4 / 6, abs=0.05)
    assert table["first_share"][0] + table["second_share"][0] == pytest.approx(1)


def test_a_record_is_named_by_its_rarest_frequent_outcome() -> None:
    outcome = np.array([[1, 1, 0], [1, np.nan, 0], [0, 0, 0], [1, 0, 0]], dtype=float)
    table = plane(np.eye(4), outcome, ["often", "rare", "never"])
    assert table["outcome"].tolist() == ["rare", "often", "none of these", "often"]
    assert plane(np.eye(2), outcome[:2], ["often", "rare", "never"]).empty
