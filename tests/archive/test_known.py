"""What a writer knows of the records that are there, without their names in dictionaries."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import known as module
from ssl_ecg.archive.known import Known


def manifest(first: int, count: int) -> pd.DataFrame:
    number = range(first, first + count)
    return pd.DataFrame(
        {
            "record_id": [f"ward/{each}" for each in number],
            "source": pd.Categorical([f"source {each % 3}" for each in number]),
            "content": [f"{each * 2**40:016x}" for each in number],
        }
    )


@pytest.mark.parametrize("recent", [1, 8, 2**16])
def test_every_record_is_found_and_no_other(monkeypatch: pytest.MonkeyPatch, recent: int) -> None:
    monkeypatch.setattr(module, "RECENT", recent)
    known = Known()
    for first, count in ((0, 20), (20, 0), (20, 3), (23, 17)):
        known.add(manifest(first, count).astype({"record_id": "string"} if first else {}))
        assert len(known) == first + count
    assert all(f"ward/{each}" in known for each in range(40))
    assert not any(name in known for name in ("ward/40", "ward", "", "0"))
    assert [known.of_signal(f"{each * 2**40:016x}") for each in range(41)] == [f"ward/{each}" for each in range(40)] + [
        None
    ]
    assert list(known.rows()) == [(f"ward/{each}", f"source {each % 3}") for each in range(40)]


def test_hashes_take_twelve_bytes_a_text() -> None:
    hashes = module._Hashes()
    for first in range(0, 200_000, 50_000):
        hashes.add(f"a name of thirty letters {each}" for each in range(first, first + 50_000))
    assert hashes.find("a name of thirty letters 199999") == 199_999
    arrays = [array for both in (hashes._all, hashes._recent) for array in both]
    assert sum(map(sys.getsizeof, arrays)) < 200_000 * 12 + 1000
    assert np.all(np.diff(hashes._all[0]) > 0)
