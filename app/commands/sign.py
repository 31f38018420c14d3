"""`sign`: print a signed address for an `<img>`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from app.access.signed_urls import MAX_EXPIRES_IN_SECONDS
from app.api.parameters import QUERY_PARAMETERS, from_query
from app.api.rendition_parameters import asked_in_query
from app.api.sign import fitting
from app.application import open_keys
from app.commands.failed import Failed
from app.configuration import load_configuration
from app.errors import InvalidParameter, ServiceError
from app.generation.config.model_names import ModelNames
from app.signing import sign_url
from app.storage.storage_key import Project
from app.telemetry import configure_logging

if TYPE_CHECKING:
    import argparse

    from app.configuration import Configuration

DEFAULT_EXPIRES_IN_SECONDS = 3600
_PROJECT = "ORG/PROJECT"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe `sign`."""
    parser.add_argument("project", metavar=_PROJECT)
    parser.add_argument("--prompt", required=True, help="what is to be seen")
    for name in sorted(QUERY_PARAMETERS - {"prompt"}):
        parser.add_argument(_argument(name), dest=name)
    parser.add_argument(
        "--expires",
        type=int,
        default=DEFAULT_EXPIRES_IN_SECONDS,
        metavar="SECONDS",
        help="how long the address holds (%(default)s)",
    )
    parser.add_argument("--kid", metavar="ID", help="which key signs; else the newest")


async def sign(chosen: argparse.Namespace) -> int:
    """Print the address, alone."""
    configuration = load_configuration()
    # The ledger is all that it needs: an outage of Redis is not logged.
    configure_logging("ERROR", configuration.settings.log_format)
    if not 1 <= chosen.expires <= MAX_EXPIRES_IN_SECONDS:
        raise Failed(f"--expires is from 1 to {MAX_EXPIRES_IN_SECONDS} seconds.")
    given = {name: getattr(chosen, name) for name in QUERY_PARAMETERS}
    given = {name: value for name, value in given.items() if value is not None}
    try:
        print(await _address(configuration, chosen, given))
    except InvalidParameter as error:
        raise Failed(f"{_argument(error.parameter)}: {error.detail}") from error
    except ServiceError as error:
        raise Failed(error.detail) from error
    return 0


def _argument(parameter: str) -> str:
    """Return the argument that gives *parameter*, as `--help` calls it."""
    return _PROJECT if parameter == "project" else f"--{parameter.replace('_', '-')}"


async def _address(
    configuration: Configuration, chosen: argparse.Namespace, given: dict[str, str]
) -> str:
    # A URL that would be refused later is refused now.
    from_query(given, ModelNames(configuration.models))
    asked_in_query(given, configuration.settings.widths_of_renditions)
    project = Project.parse(chosen.project)
    async with open_keys(configuration) as keys:
        found = await keys.signing_key(project, chosen.kid)
    if found is None:
        raise Failed(
            f"{project} has no such signing key; make one: "
            f"python -m app keys create {project} --kind signing"
        )
    record, secret = found
    url = sign_url(
        configuration.settings.base_url,
        given.pop("prompt"),
        project=str(project),
        kid=record.id,
        secret=secret,
        exp=int(time.time()) + chosen.expires,
        **given,
    )
    return fitting(configuration.settings.base_url, url)
