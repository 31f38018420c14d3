"""`dev`: embedded mode, everything on this machine."""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

from app import urls
from app.commands.embedded_redis import CannotEmbed, claimed, embedded_redis
from app.commands.failed import Failed
from app.commands.serve import bound, serve_on
from app.configuration import Configuration, load_configuration
from app.environment import environment
from app.telemetry import configure_logging

# No balancer has to notice that a developer's Ctrl-C ends the service.
DEV_DEFAULTS = {
    "host": "127.0.0.1",
    "log_format": "text",
    "shutdown_grace_seconds": 2.0,
}

MASTER_KEY_FILE = "signing-master-key"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe `dev`."""
    parser.add_argument(
        "--port", type=_port, default=None, help="where to listen (8080)"
    )
    parser.add_argument(
        "--data", type=Path, default=Path("var"), help="where it is kept (./var)"
    )


async def dev(port: int | None, data: Path) -> int:
    """Run everything on this machine: embedded Redis, a folder, no keys."""
    given = environment()
    overrides: dict[str, object] = {
        name: value for name, value in DEV_DEFAULTS.items() if name.upper() not in given
    }
    overrides |= {"auth": "off", "redis_url": "unix:///embedded"}
    if port is not None:
        overrides["port"] = port
    configuration = load_configuration(image_folder=data / "images", **overrides)
    settings = configuration.settings
    configure_logging(settings.log_level, settings.log_format)
    # A port in use is reported before anything is started.
    sockets = bound(settings.host, settings.port)
    overrides["port"] = sockets[0].getsockname()[1]
    try:
        with claimed(data):
            async with embedded_redis(data) as redis:
                overrides["redis_url"] = redis.url
                if "SIGNING_MASTER_KEY" not in given:
                    overrides["signing_master_key"] = _master_key(data)
                configuration = load_configuration(
                    image_folder=data / "images", **overrides
                )
                _introduce(configuration, redis.program, data)
                return await serve_on(configuration, sockets)
    except CannotEmbed as error:
        raise Failed(str(error)) from error
    finally:
        for taken in sockets:
            taken.close()


def _master_key(data: Path) -> str:
    """Return the folder's own key to its signing secrets, made the first time."""
    file = data / MASTER_KEY_FILE
    file.touch(mode=0o600)
    key = file.read_text()
    if not key:
        key = secrets.token_urlsafe(32)
        file.write_text(key)
    return key


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
        f"'{configuration.settings.base_url}{urls.LIVE}?prompt=a+red+fox'",
        flush=True,
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:  # noqa: PLR2004 - RFC 9293
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)
