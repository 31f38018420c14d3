"""`check`: try what a replica depends on, and say what is wrong with it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from app.application import load_configuration
from app.commands.opened import opened_services
from app.errors import ServiceError
from app.telemetry import configure_logging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PING_WITHIN_SECONDS = 5.0


async def check() -> int:
    """Try what a replica depends on, and say what is wrong with it."""
    configuration = load_configuration()
    configure_logging("ERROR", configuration.settings.log_format)
    async with opened_services(configuration) as opened:
        faults = 0
        for name, ping in opened.pings.items():
            fault = await _fault(ping)
            print(f"{name:14} {fault or 'ok'}", file=sys.stderr if fault else None)
            faults += fault is not None
        for alias, model in configuration.models.items():
            # Asking a provider for a picture would cost one: what can be
            # checked without paying was checked when the file was read.
            print(f"{'model':14} {alias}: {model.provider}, configuration ok")
    return 1 if faults else 0


async def _fault(ping: Callable[[], Awaitable[None]]) -> str | None:
    try:
        async with asyncio.timeout(PING_WITHIN_SECONDS):
            await ping()
    except TimeoutError:
        return "does not answer"
    except ServiceError as error:
        cause = type(error.__cause__).__name__ if error.__cause__ else ""
        return f"{error.detail} {cause}".strip()
    return None
