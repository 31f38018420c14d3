"""Bodies of requests are read in pieces, and others are served between two."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from app.http.incoming_bodies import next_piece

MIB = 1024 * 1024


async def test_what_has_arrived_is_read_in_pieces_between_other_work() -> None:
    """A megabyte that has arrived at once is 16 pieces; others run before each."""
    loop = asyncio.get_running_loop()
    arrived = StreamReader(Mock(spec=BaseProtocol), 2 * MIB, loop=loop)
    arrived.feed_data(bytes(MIB))
    arrived.feed_eof()
    request: web.Request = make_mocked_request("POST", "/", payload=arrived)
    turns = 0

    def take_turns() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(take_turns)

    loop.call_soon(take_turns)
    seen: list[tuple[int, int]] = []
    while piece := await next_piece(request):
        seen.append((len(piece), turns))

    assert [size for size, _ in seen] == [65_536] * 16
    assert [at for _, at in seen] == list(range(1, 17))
