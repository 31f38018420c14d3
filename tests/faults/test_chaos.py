"""A short run of `make chaos`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.chaos import chaos
from tests.faults.history import COSTLY, Kind
from tests.faults.promises import violations
from tests.faults.report import report
from tests.other_stores import store_server
from tests.servers import STORE_SERVERS

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20
SECONDS = 15.0


@pytest.mark.parametrize("name", STORE_SERVERS)
async def test_every_promise_is_kept_in_a_short_chaos(
    name: str, tmp_path: Path
) -> None:
    """Under random faults each prompt has one whole picture, paid for once a fault."""
    # Its own object store: a run freezes it.
    with store_server(name, tmp_path / "store") as store:
        history = await chaos(
            tmp_path, store, seed=SEED, seconds=SECONDS, replicas=2, clients=6
        )

    text = report(history, seed=SEED, seconds=SECONDS)
    assert violations(history) == [], text
    # It was a run, not a rest.
    assert {fault.kind for fault in history.faults} >= {
        Kind.REPLICA_KILLED,
        Kind.REPLICA_PAUSED,
    }
    assert len({fault.kind for fault in history.faults} & COSTLY) > 2, text
    assert sum(one.status == 200 for one in history.asked) > 50, text
