"""`python -m benchmarks` starts everything, measures, prints and writes."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import uvloop

from benchmarks import fairness, hit_rate, overload, plot, report
from benchmarks.figures import OURS
from benchmarks.load import CONNECTIONS
from benchmarks.machine import ROOT, Cores, description, kept_on
from benchmarks.rows import ROWS
from benchmarks.stage import Source, Stage
from tests.fake_provider import FakeProvider, serve
from tests.servers import object_store_server, redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.figures import Line

RESULTS = ROOT / "benchmarks" / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the chosen rows; return 1 if a goal is missed."""
    chosen = _parser().parse_args(arguments)
    if chosen.hit_rate:
        hit_rate.write(ROOT / "docs" / "explanation" / "hit-rate.svg")
        return 0
    _allow_many_connections()
    if chosen.overload:
        print(overload.HEAD)
        uvloop.run(overload.measure(tiny=chosen.tiny))
        return 0
    if chosen.fairness:
        print(fairness.HEAD)
        found = uvloop.run(fairness.measure(tiny=chosen.tiny))
        return 1 if any(one.worst > fairness.GOAL for one in found) else 0
    cores = Cores.of_this_machine()
    with kept_on(cores.others):
        lines, kind = uvloop.run(_measure(chosen, cores))
    conditions = {
        "on": f"{datetime.now(UTC):%Y-%m-%d}",
        "rounds": chosen.rounds,
        "seconds": chosen.seconds,
        "connections": CONNECTIONS,
        "pinned": bool(cores.server),
        "store": kind,
        "compared_with": chosen.compare,
    }
    _write(chosen, lines, conditions)
    return 1 if any(line.is_met is False for line in lines) else 0


async def _measure(chosen: argparse.Namespace, cores: Cores) -> tuple[list[Line], str]:
    lines: list[Line] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        provider = FakeProvider()
        store = stack.enter_context(object_store_server(folder / "store"))
        stage = Stage(
            folder=folder,
            redis=stack.enter_context(redis_server(folder / "redis")),
            store=store,
            provider=provider,
            provider_url=await stack.enter_async_context(serve(provider)),
            cores=cores,
            sources=stack.enter_context(_sources(chosen.compare, folder)),
            rounds=chosen.rounds,
            seconds=chosen.seconds,
            tiny=chosen.tiny,
        )
        for row in chosen.rows:
            print(f"row {row}: {ROWS[row].__doc__}", file=sys.stderr, flush=True)
            lines += await ROWS[row](stage)
    return lines, store.kind


def _write(
    chosen: argparse.Namespace, lines: list[Line], conditions: dict[str, object]
) -> None:
    machine = description()
    words = report.conditions_in_words(conditions, machine)
    text = report.table(lines)
    print(f"{text}\n\n{words}")
    chosen.results.mkdir(parents=True, exist_ok=True)
    plotted = plot.bars(lines)
    (chosen.results / "latest.json").write_text(
        report.document(lines, conditions, machine)
    )
    (chosen.results / "latest.svg").write_text(plotted)
    if chosen.write_docs:
        report.PLOT.write_text(plotted)
        report.write_page(f"{words}\n\n{text}")


@contextmanager
def _sources(revision: str | None, folder: Path) -> Iterator[list[Source]]:
    """Yield this checkout, and *revision* in a checkout of its own."""
    ours = Source(OURS)
    if revision is None:
        yield [ours]
        return
    tree = folder / "revision"
    git = ("git", "-C", str(ROOT), "worktree")
    with ExitStack() as stack:
        subprocess.run([*git, "add", "--detach", str(tree), revision], check=True)
        stack.callback(
            subprocess.run, [*git, "remove", "--force", str(tree)], check=True
        )
        yield [ours, Source(f"service at {revision}", tree)]


def _allow_many_connections() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures the service against bare handlers and its peers.",
    )
    add = parser.add_argument
    add("--rows", type=_rows, default=list(ROWS), help="some rows only: 1,3b,9")
    add("--rounds", type=int, default=5, help="alternating rounds (5)")
    add("--seconds", type=float, default=5.0, help="of each round (5)")
    add("--compare", metavar="REV", help="measure another commit in the same rounds")
    add("--results", type=Path, default=RESULTS, help="where JSON and SVG go")
    add("--write-docs", action="store_true", help="put the table into docs/")
    add("--hit-rate", action="store_true", help="only simulate the hot tier")
    add("--overload", action="store_true", help="only overload a model, for 15 min")
    add("--fairness", action="store_true", help="only a customer beside strangers")
    add("--tiny", action="store_true", help="small enough for a test; means nothing")
    return parser


def _rows(text: str) -> list[str]:
    rows = text.split(",")
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        raise argparse.ArgumentTypeError(f"rows are {', '.join(ROWS)}")
    return rows


if __name__ == "__main__":
    sys.exit(main())
