"""The services of a replica, for a command that does not serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.application import open_replica
from app.server.lifecycle import Lifecycle
from app.telemetry import Metrics

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from app.application import Opened
    from app.configuration import Configuration


def opened_services(
    configuration: Configuration,
) -> AbstractAsyncContextManager[Opened]:
    """Open what a replica works with, without a listener."""
    return open_replica(configuration, Metrics(), Lifecycle(), serves=False)
