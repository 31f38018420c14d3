"""The runs of the servers that answer: a Redis may come back with older data.

A server that is restarted from a snapshot, or a replica that a failover promotes,
is another run, and may have lost what was written last: entries that were purged
are there again. Redis itself keeps the run in which its data began, so that a
replica that has just started knows of it, too.
"""

from __future__ import annotations

import logging

from app.storage.redis.client.script import Script

logger = logging.getLogger(__name__)

SAME_RUN = "began in this run"
ANOTHER_RUN = "began in another run"
NOT_KEPT = "it is not known when it began"
NOT_TOLD = "Redis does not tell when it began"

# KEYS began. ARGV the number of keys or '' for those of this server, then name
# and run of each node. Data begins where there is none, or not as far as we know:
# a run that is kept stays, as long as there is any data that may be older.
BEGIN = Script.of(f"""\
#!lua flags=allow-oom
local begins = redis.call('EXISTS', KEYS[1]) == 0
if begins and (tonumber(ARGV[1]) or redis.call('DBSIZE')) > 0 then
  return '{NOT_KEPT}'
end
for at = 2, #ARGV - 1, 2 do
  if begins then
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  elseif redis.call('HGET', KEYS[1], ARGV[at]) ~= ARGV[at + 1] then
    return '{ANOTHER_RUN}'
  end
end
return '{SAME_RUN}'
""")

_NEVER_PROMOTED = "0" * 40


class ServerRuns:
    """The runs of the servers that answer now, by node ("" for the only one)."""

    def __init__(self) -> None:
        self._runs: dict[str, str] = {}
        self._doubts = 0

    @property
    def doubts(self) -> int:
        """The number of times that Redis had data of another run."""
        return self._doubts

    def believed(self) -> list[str]:
        """Return name and run of each node, where all data began in these runs."""
        if self._doubts:
            return []
        return [part for node in self._runs.items() for part in node]

    def of(self, node: str) -> str:
        """Return the run of *node*; empty where it is not known."""
        return self._runs.get(node, "")

    def note(self, node: str, run: str, data: str) -> None:
        """Note the run of *node*, and what is known of its *data*."""
        before = self._runs.get(node)
        if before == run:
            return
        self._runs[node] = run
        if before is not None:
            logger.warning("redis is another run", extra={"data": data})
        if data != SAME_RUN:
            self.doubt(data)

    def doubt(self, data: str) -> None:
        """Note that the data may be older, since *data* is known of it."""
        self._doubts += 1
        logger.info("redis may have older data", extra={"data": data})


def run_in(info: str) -> str:
    """Return the run of the server that answers *info*; empty where it says none.

    A server that was promoted while it ran is another run from then on: it may
    have missed what its primary had.
    """
    fields = dict(line.strip().partition(":")[::2] for line in info.splitlines())
    run = fields.get("run_id", "")
    second = fields.get("master_replid2", _NEVER_PROMOTED)
    if run and second != _NEVER_PROMOTED:
        return f"{run}:{fields.get('master_replid', '')}"
    return run
