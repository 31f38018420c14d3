"""`python -m tests.fake_provider`: the fake provider as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal

from yarl import URL

from tests.fake_provider import FakeProvider, serve


async def run(port: int) -> None:
    """Print one line of JSON with the port, and serve until told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(FakeProvider(), port=port) as origin:
        line = {"port": URL(origin).port, "base_url": f"{origin}/v1"}
        print(json.dumps(line), flush=True)  # noqa: T201 - how a test learns the port
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.fake_provider")
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(run(parser.parse_args().port))
