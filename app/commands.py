"""What the command line does: each command returns its exit status."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from tqdm import tqdm

from app.api.lifecycle import Lifecycle
from app.application import (
    Configuration,
    create_app,
    environment,
    load_configuration,
    open_services,
)
from app.embedded import CannotEmbed, claimed, embedded_redis
from app.errors import InvalidParameter, ServiceError
from app.prompt_cache.rebuild import Rebuild, Tally
from app.server import CannotListen, EndedNow, bind
from app.server import serve as serve_app
from app.storage.storage_key import Project
from app.telemetry import Metrics, configure_logging

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from app.application import Opened

INTERRUPTED = 130
PING_WITHIN_SECONDS = 5.0

# No balancer has to notice that a developer's Ctrl-C ends the service.
DEV_DEFAULTS = {
    "host": "127.0.0.1",
    "log_format": "text",
    "shutdown_grace_seconds": 2.0,
}


class Failed(Exception):
    """The command can't do what it was asked for; the sentence says why."""


async def serve() -> int:
    """Run a replica until it is told to stop."""
    settings = load_configuration().settings
    configure_logging(settings.log_level, settings.log_format)
    sockets = _bound(settings.host, settings.port)
    # Port 0 took a free one, which the service's own address has to name.
    configuration = load_configuration(port=sockets[0].getsockname()[1])
    return await _serve(configuration, sockets)


async def dev(port: int | None, data: Path) -> int:
    """Run everything on this machine: embedded Redis, a folder, no keys."""
    said = environment()
    overrides: dict[str, object] = {
        name: value for name, value in DEV_DEFAULTS.items() if name.upper() not in said
    }
    overrides |= {"auth": "off", "redis_url": "unix:///embedded"}
    if port is not None:
        overrides["port"] = port
    configuration = load_configuration(image_folder=data / "images", **overrides)
    settings = configuration.settings
    configure_logging(settings.log_level, settings.log_format)
    # A taken port is said before anything is started.
    sockets = _bound(settings.host, settings.port)
    overrides["port"] = sockets[0].getsockname()[1]
    try:
        with claimed(data):
            async with embedded_redis(data) as redis:
                overrides["redis_url"] = redis.url
                configuration = load_configuration(
                    image_folder=data / "images", **overrides
                )
                _introduce(configuration, redis.program, data)
                return await _serve(configuration, sockets)
    except CannotEmbed as error:
        raise Failed(str(error)) from error
    finally:
        for taken in sockets:
            taken.close()


def _introduce(configuration: Configuration, program: str, data: Path) -> None:
    painters = ", ".join(
        f"{alias} ({model.provider})" for alias, model in configuration.models.items()
    )
    print(
        f"Paintonce in embedded mode, for development:\n"
        f"  cache    {program}, append-only file in {data}/redis\n"
        f"  store    a folder, {data}/images\n"
        f"  models   {painters}\n"
        f"  keys     none are asked for: AUTH is off\n"
        f"  address  {configuration.settings.base_url}\n"
        f"Try: curl -sD- -o fox.png "
        f"'{configuration.settings.base_url}/api/v1/live/generate?prompt=a+red+fox'",
        flush=True,
    )


def _bound(host: str, port: int) -> Sequence[socket.socket]:
    try:
        return bind(host, port)
    except CannotListen as error:
        raise Failed(str(error)) from error


async def _serve(configuration: Configuration, sockets: Sequence[socket.socket]) -> int:
    settings = configuration.settings
    try:
        await serve_app(
            create_app(configuration),
            host=settings.host,
            port=settings.port,
            sockets=sockets,
            grace_seconds=settings.shutdown_grace_seconds,
        )
    except EndedNow:
        return INTERRUPTED
    return 0


async def rebuild(project: str | None, per_second: float) -> int:
    """Restore the entries of one project, or of all, from the manifests."""
    configuration = load_configuration()
    configure_logging("WARNING", configuration.settings.log_format)
    try:
        named = Project.parse(project) if project is not None else None
    except InvalidParameter as error:
        raise Failed(error.detail) from error
    try:
        async with _opened(configuration) as opened:
            return await _rebuild(configuration, opened, named, per_second)
    except ServiceError as error:
        raise Failed(f"{error.detail} Run it again: it goes on here.") from error


async def _rebuild(
    configuration: Configuration,
    opened: Opened,
    named: Project | None,
    per_second: float,
) -> int:
    services = opened.services
    run = Rebuild(
        index=services.cache.index,
        ledger=services.ledger,
        painter=services.cache.painter,
        lease_for=timedelta(seconds=configuration.settings.lease_seconds),
        per_second=per_second,
    )
    total = Tally()
    projects = [named] if named else [p async for p in services.ledger.projects()]
    for project in projects:
        count = sum([1 async for _ in services.ledger.manifests(project)])
        with tqdm(total=count, desc=str(project), unit="entry") as bar:
            total += await run.run(project, bar.update)
    print(
        f"{total.restored} restored, {total.known} were there, "
        f"{total.lost} have no picture, {total.busy} are being written."
    )
    return 0


async def check() -> int:
    """Try what a replica depends on, and say what is wrong with it."""
    configuration = load_configuration()
    configure_logging("ERROR", configuration.settings.log_format)
    async with _opened(configuration) as opened:
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


def _opened(configuration: Configuration) -> AbstractAsyncContextManager[Opened]:
    return open_services(configuration, Metrics(), Lifecycle())
