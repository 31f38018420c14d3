"""The command line: serve, dev, keys, sign, warm, rebuild, check."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import NamedTuple

from app.commands import check, dev, keys, rebuild, serve, sign, warm
from app.commands.failed import Failed
from app.settings import InvalidSettings

EXIT_CONFIGURATION = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status (2: a wrong configuration)."""
    chosen = _parser().parse_args(arguments)
    try:
        return _run(_COMMANDS[chosen.command].run(chosen))
    except InvalidSettings as error:
        for problem in error.problems:
            print(f"paintonce: {problem}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except Failed as error:
        print(f"paintonce: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


class _Command(NamedTuple):
    """A command: its line of help, its arguments, and how it is run."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Coroutine[None, None, int]]


_COMMANDS = {
    "serve": _Command(
        "run a replica; needs REDIS_URL and S3_BUCKET",
        lambda _: None,
        lambda _: serve.serve(),
    ),
    "dev": _Command(
        "run everything on this machine, without an account anywhere",
        dev.add_arguments,
        lambda chosen: dev.dev(chosen.port, chosen.data),
    ),
    "keys": _Command("make, list and revoke keys", keys.add_arguments, keys.keys),
    "sign": _Command(
        "print a signed address for an <img>", sign.add_arguments, sign.sign
    ),
    "warm": _Command(
        "paint the prompts of a file through a running service",
        warm.add_arguments,
        lambda chosen: warm.warm(
            chosen.file, chosen.project, chosen.url, chosen.concurrency
        ),
    ),
    "rebuild": _Command(
        "restore the entries in Redis from the object store",
        rebuild.add_arguments,
        lambda chosen: (
            rebuild.remove_orphans(chosen.project, chosen.rate)
            if chosen.orphans
            else rebuild.rebuild(chosen.project, chosen.rate, adopts=chosen.adopt)
        ),
    ),
    "check": _Command(
        "try Redis, the object store and the models; 1 if any fails",
        check.add_arguments,
        lambda chosen: check.check(providers=chosen.providers),
    ),
}


def _run(command: Coroutine[None, None, int]) -> int:
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return asyncio.run(command)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="One prompt, painted once, paid for once, served for ever.",
        epilog="Settings come from the environment: docs/reference/configuration.md.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in _COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.help))
    return parser


if __name__ == "__main__":
    status = main()
    # Python would search all that was loaded for cycles before it ends, which
    # takes a third of a second of the one that a drain has after its grace.
    gc.freeze()
    sys.exit(status)
