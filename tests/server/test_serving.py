from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from app.server.serving import CannotListen, PortInUse, bind
from tests.server.frame import framed, get, wire
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
PICTURE = b"a lighthouse in a storm" * 1000

# A quarter of it is how long the listener stays.
GRACE_SECONDS = 2.0
# What a process may take to end on a busy machine.
SOON_SECONDS = 5.0


class Child:
    """A serving process and its log events."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.port = 0
        self.events: list[str] = []

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def logged(self, event: str) -> None:
        """Return when the process has logged *event*."""
        assert self.process.stderr is not None
        async with asyncio.timeout(20):
            while event not in self.events:
                line = await self.process.stderr.readline()
                assert line, f"ended before {event}: {self.events}"
                record = json.loads(line)
                self.events.append(record["event"])
                self.port = record.get("port", self.port)

    async def ended(self) -> int:
        """Return the exit status, with all events read."""
        assert self.process.stderr is not None
        async with asyncio.timeout(20):
            rest = await self.process.stderr.read()
            self.events += [json.loads(line)["event"] for line in rest.splitlines()]
            return await self.process.wait()


@asynccontextmanager
async def child(
    grace_seconds: float = GRACE_SECONDS, mode: str = "willing", port: int = 0
) -> AsyncIterator[Child]:
    """Start a serving process; end it with the context."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.server.drained_app",
        str(port),
        str(grace_seconds),
        mode,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def hello(_: web.Request) -> web.Response:
    """Answer at once."""
    return web.Response(text="hello")


# A request on its way: the listener and idle connections close, and it goes on.
RELEASE = get("/release", "Content-Length: 1", method="POST")


def now() -> float:
    """Return the time of the event loop."""
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_replica_goes_after_the_notice(number: int) -> None:
    """An idle replica ends with status 0 after the notice to balancers."""
    grace_seconds = 6.0
    async with child(grace_seconds) as replica:
        await replica.logged("listening")
        began = now()
        replica.signal(number)

        assert await replica.ended() == 0
        assert grace_seconds / 4 <= now() - began < grace_seconds
    events = ["draining", "drain noticed", "listener closed", "closed", "stopped"]
    assert [event for event in replica.events if event in events] == events


async def test_the_listener_serves_everything_during_the_notice() -> None:
    """New connections are served during the notice, and refused after it."""
    async with child(grace_seconds=4) as replica:
        await replica.logged("listening")
        async with wire(replica.port) as idle:
            assert "connection" not in (await idle.ask(get("/"))).headers
            replica.signal(signal.SIGTERM)
            await replica.logged("drain noticed")

            async with wire(replica.port) as new:
                answer = await new.ask(get("/"))
                assert (answer.status, answer.headers["connection"]) == (200, "close")
                assert await new.is_closed()
            answer = await idle.ask(get("/"))
            assert (answer.status, answer.headers["connection"]) == (200, "close")

        await replica.logged("listener closed")
        with pytest.raises(ConnectionRefusedError):
            async with wire(replica.port):
                pass
        assert await replica.ended() == 0


async def test_an_idle_connection_holds_nothing_up() -> None:
    """An idle kept connection is closed with the listener."""
    async with child(grace_seconds=8) as replica:
        await replica.logged("listening")
        async with wire(replica.port) as used, wire(replica.port) as silent:
            await used.ask(get("/"))
            replica.signal(signal.SIGTERM)
            await replica.logged("listener closed")
            began = now()
            assert await used.is_closed()
            assert await silent.is_closed()

            assert await replica.ended() == 0
            assert now() - began < 2
    assert "work given up" not in replica.events


async def test_what_was_asked_on_a_closing_connection_is_answered() -> None:
    """A request that arrives on a connection that is being closed is answered."""
    async with framed(web.get("/", hello)) as frame:
        with socket.create_connection(("127.0.0.1", frame.port)) as client:
            client.settimeout(10)
            client.sendall(get("/"))
            assert await asyncio.to_thread(client.recv, 4096)
            frame.lifecycle.drain()
            # Nothing is read between these two: the loop does not run.
            client.sendall(get("/"))
            closing = asyncio.create_task(frame.listener.close_connections())
            answer = await asyncio.to_thread(client.recv, 4096)

            assert answer.startswith(b"HTTP/1.1 200")
            assert b"Connection: close" in answer
            assert await asyncio.to_thread(client.recv, 4096) == b""
            await closing


@pytest.mark.parametrize("sent", [b"", b"GET / HT"], ids=["nothing", "a part"])
async def test_a_client_that_was_just_accepted_may_ask(sent: bytes) -> None:
    """A connection accepted just before the listener closed may send its request."""
    async with framed(web.get("/", hello)) as frame, wire(frame.port) as line:
        await line.send(sent)
        await until(lambda: frame.listener.connections == 1)
        frame.lifecycle.drain()
        closing = asyncio.create_task(frame.listener.close_connections())
        await asyncio.sleep(0)
        answer = await line.ask(get("/").removeprefix(sent))

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        await closing


async def test_requests_in_flight_finish() -> None:
    """Requests that were accepted before the drain are answered whole."""
    async with child(grace_seconds=8) as replica:
        await replica.logged("listening")
        async with (
            wire(replica.port) as held,
            wire(replica.port) as upload,
            wire(replica.port) as other,
        ):
            await held.send(get("/held"))
            await replica.logged("held")
            await upload.send(get("/upload", "Content-Length: 10", method="POST"))
            await replica.logged("uploading")
            await other.send(RELEASE)
            await replica.logged("releasing")
            replica.signal(signal.SIGTERM)
            await replica.logged("listener closed")

            await upload.send(b"0123456789")
            uploaded = await upload.answer()
            released = await other.ask(b"1")
            painted = await held.answer()

        assert (uploaded.body, released.status) == (b"10", 200)
        assert painted.body == PICTURE
        assert await replica.ended() == 0
        assert "giving up" not in replica.events


async def test_a_running_generation_has_the_rest_of_the_grace() -> None:
    """A painting without waiters is finished within the grace."""
    async with child(grace_seconds=8) as replica:
        await replica.logged("listening")
        async with wire(replica.port) as line, wire(replica.port) as held:
            await line.ask(get("/paint", method="POST"))
            await held.send(get("/held"))
            await replica.logged("held")
            await line.send(RELEASE)
            await replica.logged("releasing")
            replica.signal(signal.SIGTERM)
            await replica.logged("listener closed")
            await line.ask(b"1")
            await held.answer()

        assert await replica.ended() == 0
    assert replica.events.index("painted") < replica.events.index("closed")
    assert "giving up" not in replica.events


@pytest.mark.parametrize("mode", ["willing", "stubborn"])
async def test_what_is_left_at_the_end_is_given_up(mode: str) -> None:
    """At the end of the grace waiters get 503, and the process ends."""
    async with child(mode=mode) as replica:
        await replica.logged("listening")
        async with wire(replica.port) as held:
            await held.send(get("/held"))
            await replica.logged("held")
            began = now()
            replica.signal(signal.SIGTERM)
            answer = await held.answer()
            assert now() - began >= GRACE_SECONDS

        assert (answer.status, answer.problem["code"]) == (503, "shutting_down")
        assert answer.headers["retry-after"] == "1"
        assert await replica.ended() == 0
        assert now() - began < GRACE_SECONDS + SOON_SECONDS
        assert "work given up" in replica.events


async def test_a_grace_of_nothing_ends_at_once() -> None:
    """A grace of zero ends the process at once and in order."""
    async with child(grace_seconds=0) as replica:
        await replica.logged("listening")
        began = now()
        replica.signal(signal.SIGTERM)

        assert await replica.ended() == 0
        assert now() - began < SOON_SECONDS


async def test_a_second_sigterm_changes_nothing() -> None:
    """A second SIGTERM does not shorten the drain."""
    async with child(grace_seconds=8) as replica:
        await replica.logged("listening")
        async with wire(replica.port) as held, wire(replica.port) as other:
            await held.send(get("/held"))
            await replica.logged("held")
            await other.send(RELEASE)
            await replica.logged("releasing")
            for event in ("drain noticed", "listener closed"):
                replica.signal(signal.SIGTERM)
                await replica.logged(event)
            replica.signal(signal.SIGTERM)
            await other.ask(b"1")
            painted = await held.answer()

        assert painted.body == PICTURE
        assert await replica.ended() == 0
        assert replica.events.count("drain noticed") == 1


async def test_a_second_sigint_ends_it_now() -> None:
    """A second SIGINT ends the process at once."""
    async with child(grace_seconds=60) as replica:
        await replica.logged("listening")
        async with wire(replica.port) as held:
            await held.send(get("/held"))
            await replica.logged("held")
            replica.signal(signal.SIGINT)
            await replica.logged("drain noticed")
            began = now()
            replica.signal(signal.SIGINT)

            assert await replica.ended() == 130
            assert now() - began < 2
    assert "closed" in replica.events


async def test_a_signal_before_the_start_is_over_ends_it() -> None:
    """A signal during the start ends the process."""
    async with child(grace_seconds=60, mode="starting") as replica:
        await replica.logged("opening")
        replica.signal(signal.SIGTERM)

        assert await replica.ended() == 0
    assert "listening" not in replica.events


async def test_a_port_in_use_is_one_line_and_nothing_is_started() -> None:
    """A port in use is one line on stderr, and no service is opened."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with child(port=port) as replica:
            assert replica.process.stderr is not None
            said = (await replica.process.stderr.read()).decode()
            assert await replica.process.wait() == 1

    assert said == f"Port {port} on 127.0.0.1 is in use.\n"


def test_a_port_is_taken_on_every_address_of_a_host() -> None:
    """A free port is bound on every address of the host."""
    sockets = bind("localhost", 0)
    try:
        ports = {one.getsockname()[1] for one in sockets}
        assert len(ports) == 1
        for one in sockets:
            one.listen()
        with pytest.raises(PortInUse):
            bind("localhost", ports.pop())
    finally:
        for one in sockets:
            one.close()


@pytest.mark.parametrize("host", ["192.0.2.1", "storm" * 20])
def test_an_address_that_is_not_ours_is_said_plainly(host: str) -> None:
    """A HOST that is not of this machine is one sentence."""
    with pytest.raises(CannotListen, match=host) as raised:
        bind(host, 0)

    assert not isinstance(raised.value, PortInUse)
