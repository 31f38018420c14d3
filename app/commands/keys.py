"""`keys`: make, list and revoke keys, in the ledger, without a running service."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import orjson

from app.access.caller import Role
from app.access.key_record import Kind
from app.api.keys import new_key_as_json
from app.application import open_keys
from app.commands.failed import Failed
from app.configuration import load_configuration
from app.errors import ServiceError
from app.storage.storage_key import Project
from app.telemetry import configure_logging

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Coroutine

    from app.access.keys import Keys

_BY = "command line"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe `keys create`, `keys list` and `keys revoke`."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    creating = tasks.add_parser("create", help="make a key; it is printed once")
    creating.add_argument("project", metavar="ORG/PROJECT")
    creating.add_argument(
        "--role", choices=[*map(str, Role)], default=Role.PROJECT, help="(%(default)s)"
    )
    creating.add_argument(
        "--kind", choices=[*map(str, Kind)], default=Kind.API, help="(%(default)s)"
    )
    creating.add_argument("--json", action="store_true", help="print a JSON object")
    listing = tasks.add_parser("list", help="print what is known of keys")
    listing.add_argument("project", nargs="?", metavar="ORG/PROJECT")
    listing.add_argument("--json", action="store_true", help="print a JSON object")
    revoking = tasks.add_parser("revoke", help="refuse a key from now on")
    revoking.add_argument("id", metavar="ID")


def keys(chosen: argparse.Namespace) -> Coroutine[None, None, int]:
    """Run the task that was chosen."""
    match chosen.task:
        case "create":
            return _create(
                chosen.project, Role(chosen.role), Kind(chosen.kind), chosen.json
            )
        case "list":
            return _list(chosen.project, chosen.json)
        case _:
            return _revoke(chosen.id)


async def _create(project: str, role: Role, kind: Kind, as_json: bool) -> int:  # noqa: FBT001 - an argument of the command line
    async with _opened() as kept:
        made = await kept.create(Project.parse(project), role, kind, by=_BY)
    if as_json:
        print(_json(new_key_as_json(made)))
        return 0
    record = made.record
    what = "signing key, whose id is the kid" if kind is Kind.SIGNING else "API key"
    print(f"{what}: {record.id}, {record.project}, {record.role}")
    print("It is shown this once:")
    print(made.key)
    return 0


async def _list(project: str | None, as_json: bool) -> int:  # noqa: FBT001 - an argument of the command line
    async with _opened() as kept:
        records = await kept.list(Project.parse(project) if project else None)
    if as_json:
        print(_json({"keys": [record.as_json() for record in records]}))
        return 0
    for record in records:
        until = "active"
        if record.revoked_at is not None:
            until = f"revoked {record.revoked_at:%Y-%m-%dT%H:%M:%SZ}"
        created = f"{record.created_at:%Y-%m-%dT%H:%M:%SZ}"
        print(
            f"{record.id}  {record.project}  {record.kind}  {record.role}  "
            f"{created}  {until}"
        )
    return 0


async def _revoke(key_id: str) -> int:
    async with _opened() as kept:
        await kept.revoke(key_id, by=_BY)
    print(f"{key_id} is revoked; every replica refuses it within five seconds.")
    return 0


@asynccontextmanager
async def _opened() -> AsyncIterator[Keys]:
    configuration = load_configuration()
    # The ledger is all that it needs: an outage of Redis is not logged.
    configure_logging("ERROR", configuration.settings.log_format)
    try:
        async with open_keys(configuration) as kept:
            yield kept
    except ServiceError as error:
        raise Failed(error.reason) from error


def _json(document: object) -> str:
    return orjson.dumps(document, option=orjson.OPT_UTC_Z).decode()
