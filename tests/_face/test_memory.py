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


def test_a_body_that_was_peeked_at_is_not_read_twice() -> None:
    memory, content = Memory(), body(1, '[{"role":"user","content":"a"}]')
    peeked = memory.peek(content)
    assert memory.read(content) == peeked
    assert memory.read(content)[1] is not peeked[1]
    assert memory.peek(body(2))[0] is not peeked[0]
    assert memory.read(content)[0] is peeked[0]


def test_the_outline_of_a_body_has_its_new_items_only() -> None:
    memory = Memory()
    content = body(1, '[{"role":"user","content":"a"}]')
    assert memory.outline(content) == content
    memory.read(content)
    longer = body(1, '[{"role":"user","content":"a"},{"role":"user","content":"b"}]')
    assert memory.outline(longer) == body(1, '[{"role":"user","content":"b"}]')


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
