"""Text that others wrote - names of joints, files and data sets, damaged bytes - as letters, wherever it is written."""

from __future__ import annotations

__all__ = ["formula_free", "is_text", "shown", "slug"]

import re

_OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal or a page would obey and not show: control characters but the line break, marks that turn the
direction of writing, and halves of surrogate pairs, which no encoding can write."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula; the last ones are wide forms of the first ones."""


def shown(text: str) -> str:
    r"""`text` with what a terminal would obey written out.

    >>> print(shown("\x1b[31mnose"))
    \x1b[31mnose
    """
    return _OBEYED.sub(lambda found: _written_out(found.group()), text)


def _written_out(letter: str) -> str:
    return letter.encode("unicode_escape", "backslashreplace").decode()


def formula_free(text: str) -> str:
    """`text` as the cell of a table that a spreadsheet opens: what it would run as a formula has a quote before it.

    >>> formula_free("=HYPERLINK(1)")
    "'=HYPERLINK(1)"
    """
    letters = shown(text)
    return f"'{letters}" if text.startswith(_FORMULA) else letters


def is_text(text: str) -> bool:
    """Whether every encoding of Unicode can write `text`: it holds no half of a surrogate pair."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def slug(text: str) -> str:
    """`text` as a part of a file's name: letters, digits and `_ . - + =`, never empty or hidden.

    >>> slug("../my data/v1")
    'my-data-v1'
    """
    return re.sub(r"[^\w+=.-]+", "-", shown(text)).strip(".-")[:100] or "unnamed"
