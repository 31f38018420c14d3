"""The text of a prompt, as it is hashed and painted. Pure.

Anybody may send a megabyte of it, and Python's NFC takes a time that grows
with the square of a run of marks: seconds for 32,000 of them. So what must be
too long is refused before, and long runs are brought into their order here.
"""

from __future__ import annotations

import re
from unicodedata import combining, normalize

from app.errors import InvalidParameter

LONGEST_PROMPT = 4000

# Unicode's category Cc but tab and newline.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# No character is made of more (Unicode Standard Annex 15, 12.1), so that more
# than so many times the longest prompt is too long whatever NFC does.
_MOST_COMPOSED = 4
_MOST_CHARACTERS = _MOST_COMPOSED * LONGEST_PROMPT

# Up to here the worst text takes Python a tenth of a millisecond.
_PIECE = 100
_LONG_RUN = re.compile(rb"[^\0]{30,}")


def read_prompt(text: str | None) -> str:
    """Return a prompt as it is hashed and painted; raises `InvalidParameter`.

    CRLF becomes a newline, then NFC (Unicode Standard Annex 15), then white
    space at both ends goes.
    """
    if text is None:
        raise InvalidParameter("prompt", "prompt is missing.")
    text = text.replace("\r\n", "\n")
    if _CONTROL.search(text):
        raise InvalidParameter("prompt", "prompt has a control character.")
    # White space composes with nothing, so that it may go before as well.
    prompt = _nfc(text.strip()).strip()
    if not prompt:
        raise InvalidParameter("prompt", "prompt is empty.")
    if len(prompt) > LONGEST_PROMPT:
        raise _too_long()
    return prompt


def _nfc(text: str) -> str:
    """Return the NFC of *text*, in a time that grows with its length alone.

    Raises `InvalidParameter` where that has too many characters for certain.
    """
    if text.isascii():
        return text
    if len(text) > _MOST_CHARACTERS:
        raise _too_long()
    if len(text) <= _PIECE:
        return normalize("NFC", text)
    pieces = (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
    decomposed = "".join([normalize("NFD", piece) for piece in pieces])
    if len(decomposed) > _MOST_CHARACTERS:
        raise _too_long()
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


def _too_long() -> InvalidParameter:
    return InvalidParameter(
        "prompt", f"prompt has more than {LONGEST_PROMPT} characters."
    )
