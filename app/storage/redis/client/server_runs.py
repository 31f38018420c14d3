"""The run id of the server that answers: a Redis may come back with older data.

A server that is restarted from a snapshot, or a replica that a failover promotes,
has another run id, and may have lost what was written last: entries that were
purged are there again. Each connection asks for the run id before its first
command, so that no reply of another run goes unnoticed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)


class ServerRuns:
    """The run ids of the servers that answer now, by node ("" for the only one)."""

    def __init__(self) -> None:
        self._runs: dict[str, str] = {}
        self._changes = 0

    @property
    def changes(self) -> int:
        """The number of other runs that have answered since this replica started."""
        return self._changes

    def of(self, node: str) -> str:
        """Return the run id of *node*; empty where it is not known."""
        return self._runs.get(node, "")

    def note(self, runs: Mapping[str, str]) -> None:
        """Note the run ids of all nodes; one that is empty is not known."""
        known = {node: run for node, run in runs.items() if run}
        if not known or known == self._runs:
            return
        if self._runs:
            self._changes += 1
            logger.warning("redis is another run", extra={"changes": self._changes})
        self._runs = known


def run_id_in(reply: Any) -> str:
    """Return the run id in the answer to `INFO server`; empty where there is none."""
    if isinstance(reply, dict):
        return str(reply.get("run_id", ""))
    text = reply.decode() if isinstance(reply, bytes) else str(reply)
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "run_id":
            return value.strip()
    return ""
