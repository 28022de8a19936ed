"""Half surrogates in texts: one half of a pair that stands for a character such as an emoji.

Python and JSON can hold a half alone, UTF-8 cannot. Servers and applications that cut texts by UTF-16 units
make halves. Halves that follow each other are joined; others become U+FFFD, as in text decoders.
"""

from __future__ import annotations


def mended(text: str) -> str:
    """The text as UTF-8 can encode it."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def begins_with_a_half(text: str) -> bool:
    """Whether the text begins with the second half of a pair."""
    return "\udc00" <= text[:1] <= "\udfff"


def ends_with_a_half(text: str) -> bool:
    """Whether the text ends with the first half of a pair."""
    return "\ud800" <= text[-1:] <= "\udbff"
