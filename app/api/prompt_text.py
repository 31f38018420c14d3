"""The text of a prompt, as it is hashed and painted. Pure.

A caller may send a megabyte of it, and Python's NFC takes a time that grows
with the square of a run of marks: seconds for 32,000 of them. So what must be
too long is refused before, and long runs are brought into their order here.
"""

from __future__ import annotations

import re
from unicodedata import combining, normalize

from app.errors import InvalidParameter

LONGEST_PROMPT = 4000
LONGEST_PROMPT_IN_BODY = 32_000

# Unicode's category Cc but tab and newline.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# No character is made of more (Unicode Standard Annex 15, 12.1), so that more
# than so many times the longest text is too long whatever NFC does.
_MAX_COMPOSED = 4

# Up to here the worst text takes Python a tenth of a millisecond.
_PIECE = 100
_LONG_RUN = re.compile(rb"[^\0]{30,}")


def read_prompt(text: str | None, longest: int = LONGEST_PROMPT) -> str:
    """Return a prompt as it is hashed and painted; raises `InvalidParameter`."""
    if text is None:
        raise InvalidParameter("prompt", "prompt is missing.")
    return read_text("prompt", text, longest)


def read_text(name: str, text: str, longest: int) -> str:
    """Return the *text* of parameter *name* as it is hashed and painted.

    CRLF becomes a newline, then NFC (Unicode Standard Annex 15), then white
    space at both ends goes. Raises `InvalidParameter` for a control character,
    for nothing, and for more than *longest* characters.
    """
    text = text.replace("\r\n", "\n")
    if _CONTROL.search(text):
        raise InvalidParameter(name, f"{name} has a control character.")
    # White space composes with nothing, so that it may go before as well.
    composed = _nfc(text.strip(), longest * _MAX_COMPOSED)
    clean = None if composed is None else composed.strip()
    if clean == "":
        raise InvalidParameter(name, f"{name} is empty.")
    if clean is None or len(clean) > longest:
        raise InvalidParameter(name, f"{name} has more than {longest} characters.")
    return clean


def _nfc(text: str, max_characters: int) -> str | None:
    """Return the NFC of *text*, in a time that grows with its length alone.

    None where *text* has more than *max_characters* before it is composed.
    """
    if text.isascii():
        return text
    if len(text) > max_characters:
        return None
    if len(text) <= _PIECE:
        return normalize("NFC", text)
    pieces = (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
    decomposed = "".join([normalize("NFD", piece) for piece in pieces])
    if len(decomposed) > max_characters:
        return None
    return normalize("NFC", _in_canonical_order(decomposed))


def _in_canonical_order(decomposed: str) -> str:
    """Sort each long run of marks by combining class; Python leaves those alone.

    The order is stable (Unicode Standard, 3.11, D109), so pieces of a run that
    are in order already make no difference.
    """
    classes = bytes(map(combining, decomposed))
    parts: list[str] = []
    done = 0
    for run in _LONG_RUN.finditer(classes):
        first, end = run.span()
        parts += decomposed[done:first], *sorted(decomposed[first:end], key=combining)
        done = end
    return "".join([*parts, decomposed[done:]])
