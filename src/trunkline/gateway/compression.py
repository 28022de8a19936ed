"""Decompression in bounded memory, for the content codings that HTTP clients use."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Final

import brotli  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_ZSTD_WINDOW_LOG: Final = 27
_CUT: Final = "the compressed data end too early"


def _unchanged(raw: bytes, limit: int) -> bytes:
    return raw


def _inflated(window: int) -> Callable[[bytes, int], bytes]:
    def decompress(raw: bytes, limit: int) -> bytes:
        decoder = zlib.decompressobj(window)
        body = decoder.decompress(raw, limit)
        if not decoder.eof and len(body) < limit:
            raise ValueError(_CUT)
        return body

    return decompress


def _from_zstd(raw: bytes, limit: int) -> bytes:
    decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})
    body = decoder.decompress(raw, limit)
    if not decoder.eof and len(body) < limit:
        raise ValueError(_CUT)
    return body


def _from_brotli(raw: bytes, limit: int) -> bytes:
    decoder = brotli.Decompressor()
    body: bytes = decoder.process(raw, output_buffer_limit=limit)
    while len(body) < limit and not decoder.is_finished():
        more = decoder.process(b"", output_buffer_limit=limit - len(body))
        if not more:
            raise ValueError(_CUT)
        body += more
    return body


_DECOMPRESSORS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "": _unchanged,
    "identity": _unchanged,
    "gzip": _inflated(31),
    "deflate": _inflated(15),
    "zstd": _from_zstd,
    "br": _from_brotli,
}

CODINGS: Final = frozenset(_DECOMPRESSORS)
"""The values of ``Content-Encoding`` that are known; empty for none."""


def decompressed(coding: str, raw: bytes, limit: int) -> bytes:
    """The content of a body, or as many bytes of its beginning as the limit.

    Raises:
        ValueError: the data are broken, or end too early.
    """
    try:
        return _DECOMPRESSORS[coding](raw, limit)
    except (zlib.error, zstd.ZstdError, brotli.error) as error:
        raise ValueError(str(error)) from None


__all__ = ["CODINGS", "decompressed"]
