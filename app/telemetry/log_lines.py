"""Lines of the log: constant events with fields.

An event is the record's message as it stands in the code, fields come in
`extra`. What an exception says is not written unless the sentence is ours:
messages of libraries quote the address, the key or the text they choked on.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime

from app.errors import ServiceError

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
TRACE_ID: ContextVar[str | None] = ContextVar("trace_id", default=None)

# Our own records are below this name; all others are a library's.
OURS = "app"

_PSEUDONYM_LENGTH = 16

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
}


class Pseudonyms:
    """Pseudonyms of prompt hashes, so that a guessed prompt can't be confirmed."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(f"prompts in logs: {secret}".encode()).digest()

    def of(self, prompt_hash: object) -> str:
        """Return the same text for the same hash, under the same secret."""
        text = str(prompt_hash).encode()
        return hmac.digest(self._key, text, "sha256").hex()[:_PSEUDONYM_LENGTH]


class _Fields(logging.Formatter):
    def __init__(self, pseudonyms: Pseudonyms) -> None:
        super().__init__()
        self._pseudonyms = pseudonyms

    def _fields_of(self, record: logging.LogRecord) -> dict[str, object]:
        fields = _fields_of(record)
        if "prompt_hash" in fields:
            fields["prompt"] = self._pseudonyms.of(fields.pop("prompt_hash"))
        return fields


class JsonFormatter(_Fields):
    """One JSON object per line: time, level, event, request_id and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, in ASCII."""
        line: dict[str, object] = {
            "time": _time_of(record),
            "level": record.levelname,
            "event": _event_of(record),
        }
        line |= _asked_by()
        line |= self._fields_of(record)
        if record.exc_info and record.exc_info[1]:
            line["trace"] = trace_of(record.exc_info[1])
        return json.dumps(line, default=_name_of)


class TextFormatter(_Fields):
    """The same for people: the trace on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and the lines of the trace where there is one."""
        fields = {**self._fields_of(record), **_asked_by()}
        words = [_time_of(record), f"{record.levelname:<8}", _event_of(record)]
        words += [
            f"{name}={json.dumps(value, default=_name_of)}"
            for name, value in fields.items()
        ]
        line = " ".join(words)
        if record.exc_info and record.exc_info[1]:
            line += "\n" + "\n".join(trace_of(record.exc_info[1]))
        return line


def _asked_by() -> dict[str, str]:
    """Return the ids of the request and the trace that this record belongs to."""
    ids = {"request_id": REQUEST_ID.get(), "trace_id": TRACE_ID.get()}
    return {name: value for name, value in ids.items() if value is not None}


def trace_of(error: BaseException) -> list[str]:
    """Return where *error* and its causes arose, and of which class they are.

    The causes come first, as Python prints them. Sentences are those of our
    own errors and of the operating system only.
    """
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = traceback.extract_tb(current.__traceback__)
        block = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        lines[:0] = [*block, _sentence_of(current)]
        hidden = current.__suppress_context__
        if isinstance(current, BaseExceptionGroup):
            # Of tasks that fail together the first one that failed.
            current = current.exceptions[0]
            continue
        current = current.__cause__ or (None if hidden else current.__context__)
    return lines


def _sentence_of(error: BaseException) -> str:
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    if isinstance(error, ServiceError):
        return f"{name}: {error.reason}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    return name


def _event_of(record: logging.LogRecord) -> str:
    # A library's record is cut at its first line: asyncio puts the repr of
    # the failed task, with the sentence of its exception, below.
    event = str(record.msg)
    if record.name.partition(".")[0] == OURS:
        return event
    return event.partition("\n")[0]


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    if record.name.partition(".")[0] != OURS:
        return {"logger": record.name}
    return {
        name: value for name, value in vars(record).items() if name not in _STANDARD
    }


def _time_of(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _name_of(value: object) -> str:
    # The text of an unknown object may hold anything; that of its class can't.
    return type(value).__name__
