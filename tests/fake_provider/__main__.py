"""`python -m tests.fake_provider`: the fake provider as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from yarl import URL

from tests.fake_provider import FakeProvider, serve
from tests.fake_provider.dialects import DIALECTS


async def run(port: int, models: Path | None) -> None:
    """Print the port as one line of JSON, and serve until a signal."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(FakeProvider(), port=port) as origin:
        if models is not None:
            _write_models_file(models, origin)
        line = {
            "port": URL(origin).port,
            "base_url": f"{origin}/v1",
            "base_urls": {
                name: origin + dialect.base_path for name, dialect in DIALECTS.items()
            },
        }
        print(json.dumps(line), flush=True)  # noqa: T201 - how a test learns the port
        await stop.wait()


def _write_models_file(path: Path, origin: str) -> None:
    """Write a models file with an alias for each vendor, all without a key."""
    tables = [
        f'[models.{name}]\nprovider = "{name}"\nmodel = "{dialect.example}"\n'
        f'base_url = "{origin}{dialect.base_path}"\napi_key_env = ""\nprice = 0.04\n'
        for name, dialect in DIALECTS.items()
    ]
    path.write_text("\n".join(tables), encoding="utf-8")


def main(given: Sequence[str] | None = None) -> int:
    """Serve until a signal; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fake_provider")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--models", type=Path, help="write a models file there")
    arguments = parser.parse_args(given)
    asyncio.run(run(arguments.port, arguments.models))
    return 0


if __name__ == "__main__":
    sys.exit(main())
