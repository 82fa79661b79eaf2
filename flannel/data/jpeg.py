"""Damage in a JPEG that decoders forgive: they fill what is missing with grey, without a word."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import simplejpeg

DAMAGE = ("Corrupt JPEG data", "Premature end")
"""How libjpeg's warnings of lost data begin; what else it warns of or cannot read is no damage."""

ERASED_BYTES = 32
"""Zero bytes in a row that no encoder writes, where zeros stand for coefficients that are none."""

SCAN, END, TABLES = 0xDA, 0xD9, 0xC4
FRAMES = (0xC0, 0xC1, 0xC2)
"""Markers of what is read: baseline, extended and progressive, all with Huffman's codes."""
BARE = (0x01, *range(0xD0, 0xD8))
"""Markers without a segment behind them."""
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class _Segment(NamedTuple):
    marker: int
    content: bytes
    coded: bytes
    """What follows the header of a scan: the coded pixels."""


def jpeg_damage(content: bytes) -> str:
    """Returns in few words what is damaged in a JPEG, "" for a whole one.

    libjpeg decodes it at an eighth of its size and tells of scans that end too early or too late.
    What it cannot notice is looked for in the segments: scans that are missing (ITU-T T.81, G.1),
    and zeros in place of codes.

    Args:
        content: The whole file, of a JPEG that can be decoded; what follows its end is no matter.
    """
    try:
        _, _, colours, _ = simplejpeg.decode_jpeg_header(content, strict=False)
        inks = colours in ("CMYK", "YCCK")
        simplejpeg.decode_jpeg(
            content, "CMYK" if inks else "GRAY", min_height=1, min_width=1, strict=True
        )
    except (ValueError, KeyError) as fault:  # KeyError: of a colour space that it does not know
        reason = str(fault)
        return reason if reason.startswith(DAMAGE) else ""
    return _damage_of_scans(content)


def _damage_of_scans(content: bytes) -> str:
    """Looks for scans that are missing, and for codes that were overwritten with zeros."""
    unread: dict[int, np.ndarray] = {}  # bits that each coefficient of a component still lacks
    shortest: dict[int, int] = {}  # the symbol of an AC table whose code is all zeros
    for marker, segment, coded in _segments(content):
        if marker in FRAMES:
            unread = {component: np.full(64, 16) for component in segment[6::3]}
        elif marker == TABLES:
            shortest.update(_first_symbols(segment))
        elif marker == SCAN and unread:
            count = segment[0]
            components, tables = segment[1 : 2 * count : 2], segment[2 : 2 * count + 1 : 2]
            first, last, bits = segment[2 * count + 1 : 2 * count + 4]
            for component in components:
                unread[component][first : last + 1] = bits & 15
            symbols = [shortest.get(table & 15, 0) for table in tables] if last else []
            splits_dc = first == 0 and last < 63
            # A symbol's low half is the size of a coefficient: 0 ends a block, as flat ones do.
            if not splits_dc and any(s & 15 for s in symbols) and bytes(ERASED_BYTES) in coded:
                return "zeros in place of its pixels"
    if any(bits.any() for bits in unread.values()):
        return "some of its scans are missing"
    return ""


def _segments(content: bytes) -> Iterator[_Segment]:
    """Splits a JPEG into its segments, up to its end marker."""
    place = 2
    while place + 4 <= len(content):
        marker = content[place + 1]
        if content[place] != 0xFF or marker == END:
            return
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker in BARE:
            place += 2
            continue
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4])
        segment, place, coded = content[place + 4 : end], end, b""
        if marker == SCAN:
            following = _NEXT_MARKER.search(content, end)
            place = following.start() if following else len(content)
            coded = content[end:place]
        yield _Segment(marker, segment, coded)


def _first_symbols(segment: bytes) -> Iterator[tuple[int, int]]:
    """Yields for each AC table its number, and the symbol of its first code."""
    place = 0
    while place + 17 < len(segment):
        kind, number = segment[place] >> 4, segment[place] & 15
        if kind == 1:
            yield number, segment[place + 17]
        place += 17 + sum(segment[place + 1 : place + 17])
