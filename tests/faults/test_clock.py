"""The clock of a replica jumps while it paints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.installation import installation
from tests.replica import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import S3Server

PROMPT = "a lighthouse in a storm"
A_DAY = 86_400

# Python runs it before anything else: from then on `time` is off by what the
# file says. Monotonic time, by which waits and leases go, is the machine's.
SITE = """\
import time
from pathlib import Path

_time, _offset = time.time, Path({offset!r})


def _now():
    try:
        return _time() + float(_offset.read_text() or 0)
    except OSError:
        return _time()


time.time = _now
time.time_ns = lambda: int(_now() * 1_000_000_000)
"""


async def test_row_24_a_clock_that_jumps_takes_no_lease_and_counts_on(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """A clock that jumps by a day loses no lease and no hit."""
    async with installation(
        tmp_path, s3_server, replicas=0, LEASE_SECONDS="2"
    ) as place:
        clocks = []
        for name in ("leader", "follower"):
            folder = tmp_path / name
            folder.mkdir()
            clocks.append(folder / "offset")
            site = SITE.format(offset=str(clocks[-1]))
            (folder / "sitecustomize.py").write_text(site)
            await place.start(PYTHONPATH=f"{folder}:{ROOT}")
        leader, follower = place.replicas
        led = await place.held(PROMPT, leader)
        followed = place.asking(PROMPT, follower)
        await place.until_following(PROMPT, follower)

        clocks[0].write_text(f"{A_DAY}")
        clocks[1].write_text(f"-{A_DAY}")
        # Longer than the lease lives by itself.
        await place.until_renewed(4)
        await place.provider.release()
        got = [await led, await followed]
        hits = [(await place.get(PROMPT, at)).hits for at in (follower, leader)]
        clocks[0].write_text(f"-{A_DAY}")
        hits.append((await place.get(PROMPT, leader)).hits)

        assert [one.cache for one in got] == ["MISS", "HIT"]
        assert hits == [2, 3, 4]
        assert not leader.events("lease lost")
        await place.check(PROMPT, calls=1)
