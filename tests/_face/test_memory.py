from __future__ import annotations

import pytest

from trunkline._face.memory import Memory


def body(number: int, items: str = "[]") -> bytes:
    return b'{"model":"m","user":"%d","input":%b}' % (number, items.encode())


def test_equal_fields_are_read_once() -> None:
    memory = Memory()
    one, _ = memory.read(body(1))
    other, read = memory.read(body(1, '[{"role":"user","content":"a"}]'))
    assert one is other
    assert len(read.items) == 1


def test_more_fields_than_remembered_are_read_again() -> None:
    memory = Memory()
    first, _ = memory.read(body(0))
    for number in range(1, 80):
        memory.read(body(number))
    again, _ = memory.read(body(0))
    assert again is not first
    assert again.fields_key == first.fields_key


def test_what_no_frame_can_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="needs HTTP"):
        Memory().read(b'{"model":"m","input":[],"background":true}')
