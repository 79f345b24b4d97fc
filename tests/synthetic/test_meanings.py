from __future__ import annotations

import pandas as pd
import pytest
import torch

from ssl_ecg.sources.cpsc2018 import CLASSES
from ssl_ecg.synthetic.simulator import CONDITIONS, MEANINGS, meanings_of, simulated_labels
from ssl_ecg.synthetic.simulator.meanings import NONE_OF


def shown(*names: str) -> torch.Tensor:
    return torch.tensor([[name in names for name in CONDITIONS]])


def test_every_meaning_is_of_conditions_that_are_simulated() -> None:
    for name, meaning in MEANINGS.items():
        assert name == name.upper()
        conditions = meaning[meaning[0] == NONE_OF :]
        assert conditions, name
        assert set(conditions) <= set(CONDITIONS), name


def test_labels_say_any_or_none_of_their_conditions_and_nothing_where_they_have_no_meaning() -> None:
    classes = ["MI", "NORM", "SARRH", "AF|164889003", "old infarction"]
    meanings = meanings_of(classes)
    assert list(meanings) == ["MI", "NORM", "AF|164889003", "old infarction"]
    table = {
        ("old_infarction", "inferior_infarction"): [1, 0, None, 0, 1],
        ("sinus_rhythm",): [0, 1, None, 0, 0],
        ("atrial_fibrillation", "left_bundle_branch_block"): [0, 0, None, 1, 0],
        ("atrial_fibrillation",): [0, 1, None, 1, 0],  # PTB-XL calls normal what is so but for its rhythm
        ("chest_electrodes_swapped",): [0, 1, None, 0, 0],
    }
    for conditions, expected in table.items():
        labels = simulated_labels(shown(*conditions), classes, meanings)[0]
        assert [None if torch.isnan(value) else int(value) for value in labels] == expected, conditions


def test_every_class_of_cpsc_2018_has_a_meaning_and_one_of_them_is_true_of_every_simulated_sinus_beat() -> None:
    meanings = meanings_of(CLASSES)
    assert set(meanings) == set(CLASSES)
    normal = simulated_labels(shown("sinus_rhythm"), CLASSES, meanings)[0]
    assert pd.Series(normal.numpy(), CLASSES).eq(1).sum() == 1


def test_meanings_of_ones_own_go_first_and_are_checked() -> None:
    own = meanings_of(["MI", "x"], {"x": ["tall_t"], "MI": [NONE_OF, "old_infarction"]})
    assert own == {"MI": (NONE_OF, "old_infarction"), "x": ("tall_t",)}
    with pytest.raises(ValueError, match=r"meanings=\['y'\]: are no labels; choose of x"):
        meanings_of(["x"], {"y": ["tall_t"]})
    for nonsense in (["heartache"], [], [NONE_OF]):
        with pytest.raises(ValueError, match=r"meanings\.x=.*tall_t"):
            meanings_of(["x"], {"x": nonsense})
