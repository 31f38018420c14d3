"""Rights that a Redis user lacks, named for an operator.

Managed servers and careful operators take commands, keys or channels from the
user of a service. Redis then refuses in several wordings; within a script it
says only which line of it was refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.storage.redis.client.script import Script

_REFUSED = re.compile(
    r"has no permissions to"
    r"|The user executing the script can't"
    r"|unknown (redis )?command",
    re.IGNORECASE,
)
_COMMAND = re.compile(r"(?:run the|unknown command) ['`]([^'`]+)['`]")
_LINE = re.compile(r"user_script:\s?(\d+)")
_CALLS = re.compile(r"redis\.p?call\('([A-Z]+)'")

_SHOWN_CHARACTERS = 12


class RightMissing(Exception):
    """Redis refuses a command for good; the text names it."""


def right_missing(
    error: BaseException, command: Sequence[object], script: Script | None
) -> RightMissing | None:
    """Return which right *command* lacks, None where *error* says something else.

    The refusal may be the cause of *error*: a connection has commands of its own.
    """
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause)
        if _REFUSED.search(text):
            named = _named(text, command, script)
            return RightMissing(f"{named}{_object_of(text, command)}")
        cause = cause.__cause__
    return None


def _named(text: str, command: Sequence[object], script: Script | None) -> str:
    if script is None or not (line := _LINE.search(text)):
        found = _COMMAND.search(text)
        return (found[1] if found else str(command[0])).upper().replace("|", " ")
    number = int(line[1])
    calls = _CALLS.findall(script.source.splitlines()[number - 1])
    return f"{' or '.join(calls) or 'EVAL'} (line {number} of script {script.name})"


def _object_of(text: str, command: Sequence[object]) -> str:
    if "channel" in text:
        return " on the channel of the service"
    if "keys" in text:
        keys = [part for part in command[1:] if str(part).startswith(("2", "{2"))]
        key = str(keys[0])[:_SHOWN_CHARACTERS] if keys else ""
        return f" on its keys, such as {key}..."
    return ""
