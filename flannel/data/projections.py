"""What words, codes and orientations say of a radiograph's projection."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from types import MappingProxyType

AP, PA, FRONTAL, LATERAL, OBLIQUE = "AP", "PA", "AP or PA", "lateral", "oblique"
UNKNOWN = ""

_NOT = frozenset(("NOT", "NO", "NON", "WITHOUT"))
_LATERAL = frozenset(("LL", "RL", "LAT", "LLAT", "RLAT", "PERFIL", "PROFIL", "PROFILE", "SEITLICH"))
_DECUBITUS = frozenset(("LLD", "RLD"))
_OBLIQUE = frozenset(("LAO", "RAO", "LPO", "RPO", "LLO", "RLO", "SWIMMERS"))
_WORDS = {"ANTEROPOSTERIOR": AP, "POSTEROANTERIOR": PA, "AP": AP, "PA": PA}
_SAME = re.compile(r"\b(ANTERO|POSTERO)[^A-Z]+(?=POSTERIOR|ANTERIOR)")

_CODES = {
    AP: "399348003 R-10206",
    PA: "272479007 R-10214 R-40888",
    FRONTAL: "399033003 R-10202",
    LATERAL: "399067008 R-102CD 399173006 R-10236 399198007 R-10232 399352003 R-10228 399260004 "
    "R-10224",
    OBLIQUE: "399312000 R-10208 399160007 R-10204 399132005 R-10252 260427002 R-40783 399099002 "
    "R-10230 399135007 R-10220 399184004 R-10238 399006002 R-10212 260426006 R-40782 399182000 "
    "R-102C1 399059000 R-10216 399356000 R-40985 R-10218 399236003 R-10234 399038007 R-10210",
}
CODES: Mapping[str, str] = MappingProxyType(
    {code: name for name, codes in _CODES.items() for code in codes.split()}
)
"""Projections of a chest in CID 4010 (DICOM PS3.16), by SNOMED CT's and by the older SRT's code."""


def projection_of_words(words: str) -> str:
    """Returns the projection that words name: `AP`, `PA`, `FRONTAL`, `LATERAL`, `OBLIQUE` or "".

    "AP" and "PA" count as words of their own, so that "lat (not PA)" is lateral. A lateral or
    oblique view beside a frontal one decides; a decubitus is frontal where AP or PA says so.
    """
    plain = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode().upper()
    tokens = set(re.findall(r"[A-Z]+", _SAME.sub(r"\1", plain)))
    if tokens & _LATERAL or any(token.startswith("LATER") for token in tokens):
        return LATERAL
    if tokens & _OBLIQUE or any(token.startswith(("OBLI", "SCHRAG")) for token in tokens):
        return OBLIQUE
    if tokens & _NOT:
        return UNKNOWN
    named = {_WORDS[token] for token in tokens & _WORDS.keys()}
    if len(named) == 1:
        return named.pop()
    if named or "FRONTAL" in tokens:
        return FRONTAL
    return LATERAL if tokens & _DECUBITUS else UNKNOWN


def projection_of_code(value: str, meaning: str) -> str:
    """Returns the projection of an item of View Code Sequence (PS3.3 C.8.11.5)."""
    return CODES.get(value.strip().upper()) or projection_of_words(meaning)


def projection_of_orientation(orientation: Sequence[str]) -> str:
    """Returns the projection of a Patient Orientation (PS3.3 C.7.6.1.1.1).

    Args:
        orientation: Where the rows lead to, and the columns; the first letter of each counts, of
            A, P, R, L, H and F.
    """
    first = {direction.strip().upper()[:1] for direction in orientation}
    upright, across = bool(first & set("HF")), bool(first & set("RL"))
    if len(orientation) != 2 or not upright:
        return UNKNOWN
    if first & set("AP"):
        return LATERAL
    return FRONTAL if across else UNKNOWN
