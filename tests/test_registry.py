"""Things by name: what is unknown is told with what is near, what is broken hurts nothing else."""

from __future__ import annotations

import pytest

from ssl_ecg.registry import Registry


@pytest.fixture
def registry() -> Registry[object]:
    made: Registry[object] = Registry("colour", "ssl_ecg.no_such_group")
    made.register("green", "a colour")
    made.offer("blue", "string:digits")
    made.offer("torn", "gone.away:Nothing")
    return made


def test_names_need_no_import_and_things_are_imported_when_asked_for(registry: Registry[object]) -> None:
    assert registry.names() == ["blue", "green", "torn"]
    assert registry["blue"] == "0123456789"
    with pytest.raises(ValueError, match=r"colour='torn': gone.away:Nothing cannot be imported \(No module named"):
        registry["torn"]
    with pytest.raises(ValueError, match=r"colour='grene': unknown; did you mean green\?"):
        registry["grene"]


def test_what_cannot_be_imported_is_left_out_and_named_once(
    registry: Registry[object], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert dict(registry.usable()) == {"blue": "0123456789", "green": "a colour"}
    assert [record.getMessage().partition(" cannot")[0] for record in caplog.records] == [
        "colour='torn': gone.away:Nothing"
    ]


def test_a_name_is_taken_once(registry: Registry[object]) -> None:
    thing = registry["green"]
    registry.register("green", thing)
    with pytest.raises(ValueError, match="name='green': a colour of this name exists already"):
        registry.register("green", "another")
