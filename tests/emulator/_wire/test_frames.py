"""Frames in the format of RFC 6455."""

from __future__ import annotations

import pytest

from trunkline.emulator._wire.frames import close_frame, frame


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, "8100"),
        (125, "817d"),
        (126, "817e007e"),
        (65535, "817effff"),
        (65536, "817f0000000000010000"),
    ],
)
def test_the_length_is_written_in_the_shortest_way(size: int, head: str) -> None:
    assert frame(b"x" * size) == bytes.fromhex(head) + b"x" * size


def test_fragments_are_a_start_and_continuations() -> None:
    assert frame(b"a", final=False) == b"\x01\x01a"
    assert frame(b"b", opcode=0) == b"\x80\x01b"


def test_a_close_frame_carries_its_code() -> None:
    assert close_frame(1012) == b"\x88\x02\x03\xf4"
    assert len(close_frame(1000, "x" * 200)) == 2 + 125
