"""Values of data as text that shows what is there."""

from __future__ import annotations

from typing import Any

from shipway.components.common.reports import number

__all__ = ["counted", "shown"]

_LONGEST = 160
_INVISIBLE = {0x200B, 0x200E, 0x200F, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def shown(value: Any, longest: int = _LONGEST) -> str:
    """Returns a value as text with nothing hidden: blanks at the ends, control and invisible characters are marked.

    Args:
        value: Of any type; numbers keep all their digits.
        longest: After so many characters the text is cut, and says so.
    """
    text = value if isinstance(value, str) else str(value)
    if not text:
        return "(empty)"
    cut = text[:longest]
    left, right = len(cut) - len(cut.lstrip(" ")), len(cut.rstrip(" "))
    visible = "".join(map(_visible, "␣" * left + cut[left:right] + "␣" * (len(cut) - max(left, right))))
    return visible if len(text) <= longest else f"{visible}… ({len(text):,} characters)"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Returns ``1 row`` or ``1,200 rows``."""
    return f"{number(count)} {noun if count == 1 else plural or noun + 's'}"


def _visible(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if 0x7F <= code <= 0xA0 or 0xD800 <= code < 0xE000 or code in _INVISIBLE:
        return f"\\u{code:04x}"
    return character
