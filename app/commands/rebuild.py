"""`rebuild`: restore the entries in Redis from the object store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tqdm import tqdm

from app.application import load_configuration
from app.commands.failed import Failed
from app.commands.opened import opened_services
from app.errors import InvalidParameter, ServiceError
from app.prompt_cache.rebuild import Tally
from app.storage.storage_key import Project
from app.telemetry import configure_logging

if TYPE_CHECKING:
    from app.application import Opened


async def rebuild(project: str | None, per_second: float) -> int:
    """Restore the entries of one project, or of all, from the manifests."""
    configuration = load_configuration()
    configure_logging("WARNING", configuration.settings.log_format)
    try:
        named = Project.parse(project) if project is not None else None
    except InvalidParameter as error:
        raise Failed(error.detail) from error
    try:
        async with opened_services(configuration) as opened:
            return await _rebuild(opened, named, per_second)
    except ServiceError as error:
        raise Failed(f"{error.detail} Run it again: it goes on here.") from error


async def _rebuild(opened: Opened, named: Project | None, per_second: float) -> int:
    services = opened.services
    total = Tally()
    projects = [named] if named else [p async for p in services.ledger.projects()]
    for project in projects:
        count = sum([1 async for _ in services.ledger.manifests(project)])
        with tqdm(total=count, desc=str(project), unit="entry") as bar:
            total += await services.rebuild.run(
                project, per_second=per_second, on_progress=bar.update
            )
    print(
        f"{total.restored} restored, {total.known} were there, "
        f"{total.lost} have no picture, {total.busy} are being written."
    )
    return 0
