"""Strangers: connections that each send a new request twice a second.

It is a process of its own, so that it does not share a clock with those who measure:
`python -m benchmarks.strangers PORT SECONDS PATH [closed|wrong-keys]`. It prints how
often each status was answered, and how many turns were skipped because the previous
answer was still missing.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import secrets
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, cast

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONNECTIONS, EVERY_SECONDS = 600, 0.5
_STATUS = slice(9, 12)
_numbers = itertools.count()


def visitor(path: str, address: str) -> bytes:
    """Return a visitor's request for a new prompt."""
    prompt = f"stranger-{secrets.token_hex(4)}-{next(_numbers)}"
    return (
        f"GET {path}?prompt={prompt} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"X-Forwarded-For: {address}\r\n\r\n"
    ).encode()


def wrong_key(path: str, address: str) -> bytes:
    """Return a request with a well-formed invalid key."""
    key_id = secrets.token_hex(6)
    return (
        f"GET {path}?prompt=a+fox HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"X-Forwarded-For: {address}\r\n"
        f"X-API-Key: pk_{key_id}_{secrets.token_urlsafe(32)}\r\n\r\n"
    ).encode()


KINDS = {"visitor": visitor, "wrong-key": wrong_key}


class Stranger(asyncio.Protocol):
    """One connection; *ask* makes each of its requests."""

    def __init__(self, ask: Callable[[], bytes], answers: Counter[str]) -> None:
        self._ask = ask
        self._answers = answers
        self._is_waiting = False
        self._transport: asyncio.Transport | None = None
        self._next: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin at a random moment, so that requests are spread."""
        self._transport = cast("asyncio.Transport", transport)
        later = random.uniform(0.0, EVERY_SECONDS)
        self._next = asyncio.get_running_loop().call_later(later, self._turn)

    def data_received(self, data: bytes) -> None:
        """Count an answer by its first part."""
        if self._is_waiting and data.startswith(b"HTTP/1.1 "):
            self._answers[data[_STATUS].decode()] += 1
            self._is_waiting = False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's own
        """Stop sending requests."""
        self._answers["cut"] += 1
        if self._next is not None:
            self._next.cancel()

    def _turn(self) -> None:
        assert self._transport is not None
        if self._is_waiting:
            self._answers["left out"] += 1
        else:
            self._is_waiting = True
            self._transport.write(self._ask())
        loop = asyncio.get_running_loop()
        self._next = loop.call_later(EVERY_SECONDS, self._turn)


async def flood(port: int, seconds: float, path: str, kind: str) -> Counter[str]:
    """Send requests for *seconds*; return the counts of statuses."""
    loop, answers = asyncio.get_running_loop(), Counter[str]()
    for number in range(CONNECTIONS):
        address = f"203.0.{number // 250}.{1 + number % 250}"

        make = partial(Stranger, partial(KINDS[kind], path, address), answers)
        await loop.create_connection(make, "127.0.0.1", port)
    await asyncio.sleep(seconds)
    return answers.copy()


def main(arguments: Sequence[str]) -> None:
    """Send requests, and print the counts as JSON."""
    port, seconds, path, kind = arguments
    answers = uvloop.run(flood(int(port), float(seconds), path, kind))
    print(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1:])
