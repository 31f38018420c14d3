"""`rebuild`: set right what Redis or a crash has left, from the object store."""

from __future__ import annotations

import argparse
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Never

from tqdm import tqdm

from app.commands.failed import Failed
from app.commands.opened import opened_services
from app.configuration import load_configuration
from app.errors import InvalidParameter, ServiceError
from app.prompt_cache.orphans import OrphanCount
from app.prompt_cache.rebuild import RebuildCount
from app.storage.storage_key import GENERATED, PROMPTS, Project
from app.telemetry import configure_logging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.api.services import Services


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe `rebuild`."""
    parser.add_argument(
        "project", nargs="?", metavar="ORG/PROJECT", help="one project; else all"
    )
    parser.add_argument(
        "--rate",
        type=_rate,
        default=200.0,
        metavar="N",
        help="manifests a second at the most (200)",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--orphans",
        action="store_true",
        help="instead remove what nothing names: pictures older than a day, proofs",
    )
    instead.add_argument(
        "--adopt",
        action="store_true",
        help="first take the ledger that is there on, in place of the one before",
    )


async def rebuild(project: str | None, per_second: float, *, adopts: bool) -> int:
    """Restore the entries of one project, or of all, from the manifests.

    With *adopts* the ledger that is there is the right one from now on.
    """
    named, total = _parsed(project), RebuildCount()
    async with _services(adopts=adopts) as services:
        for one in await _projects(services, named, PROMPTS):
            with await _progress(services, one) as bar:
                total += await services.prompts.rebuild.run(
                    one, per_second=per_second, on_progress=bar.update
                )
    print(
        f"{total.restored} restored, {total.known} were there, "
        f"{total.lost} have no picture, {total.busy} are being written."
    )
    if total.later:
        print(f"{total.later} were written by a later release, and stay as they are.")
    return 0


async def remove_orphans(project: str | None, per_second: float) -> int:
    """Remove pictures older than a day that no manifest names."""
    named, total = _parsed(project), OrphanCount()
    async with _services() as services:
        for one in await _projects(services, named, GENERATED):
            with await _progress(services, one) as bar:
                count = await services.prompts.orphans.remove(
                    one, per_second=per_second, on_progress=bar.update
                )
            if count.unreadable:
                print(f"{one}: {count.unreadable} manifests can't be read, all is kept")
            total += count
        if named is None:
            total.removed += await services.prompts.orphans.remove_proofs()
    print(f"{total.removed} removed, {total.bytes} bytes.")
    return 1 if total.unreadable else 0


@asynccontextmanager
async def _services(*, adopts: bool = False) -> AsyncIterator[Services]:
    configuration = load_configuration()
    configure_logging("WARNING", configuration.settings.log_format)
    try:
        async with opened_services(configuration) as opened:
            if adopts:
                print(f"Ledger {await opened.identity.adopt()} is the right one now.")
            await opened.identity.check()
            if opened.identity.id is None:
                raise Failed("There is no ledger yet: the first replica makes one.")
            yield opened.services
    except ServiceError as error:
        raise Failed(f"{error.reason} Run it again: it goes on here.") from error


async def _projects(
    services: Services, named: Project | None, category: str
) -> list[Project]:
    if named is not None:
        return [named]
    return [project async for project in services.prompts.ledger.projects(category)]


def _parsed(project: str | None) -> Project | None:
    try:
        return None if project is None else Project.parse(project)
    except InvalidParameter as error:
        raise Failed(error.detail) from error


async def _progress(services: Services, project: Project) -> tqdm[Never]:
    count = sum([1 async for _ in services.prompts.ledger.manifests(project)])
    return tqdm(total=count, desc=str(project), unit="entry")


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate <= 100_000:  # noqa: PLR2004 - a bound against typing errors
        raise argparse.ArgumentTypeError("a rate is above 0 and at most 100000")
    return rate
