"""The rows of the table: each a function from the stage to lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.rows.access import authentication
from benchmarks.rows.front import front_hit
from benchmarks.rows.growth import cpu_per_hit
from benchmarks.rows.herd import one_prompt_at_once
from benchmarks.rows.hot import added_latency, hot_hit, not_modified
from benchmarks.rows.million import million_entries
from benchmarks.rows.others import nginx_and_node
from benchmarks.rows.readers import slow_readers
from benchmarks.rows.renditions import rendition_hit
from benchmarks.rows.stored import stored_hit
from benchmarks.rows.transient import transient_get, transient_upload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.figures import Line
    from benchmarks.stage import Stage

ROWS: dict[str, Callable[[Stage], Awaitable[list[Line]]]] = {
    "1": hot_hit,
    "2": stored_hit,
    "3": not_modified,
    "3b": nginx_and_node,
    "4": transient_get,
    "5": transient_upload,
    "6": added_latency,
    "7": one_prompt_at_once,
    "8": slow_readers,
    "9": million_entries,
    "10": cpu_per_hit,
    "11": authentication,
    "12": rendition_hit,
    "13": front_hit,
}
