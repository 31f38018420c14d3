"""The command line: serve, dev, keys, sign, warm, rebuild, check."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path

from app.commands.check import check
from app.commands.dev import dev
from app.commands.failed import Failed
from app.commands.keys import add_arguments as add_key_arguments
from app.commands.keys import keys
from app.commands.rebuild import rebuild, remove_orphans
from app.commands.serve import serve
from app.commands.sign import add_arguments as add_sign_arguments
from app.commands.sign import sign
from app.commands.warm import warm
from app.settings import InvalidSettings

EXIT_CONFIGURATION = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status (2: a wrong configuration)."""
    chosen = _parser().parse_args(arguments)
    try:
        return _run(_COMMANDS[chosen.command](chosen))
    except InvalidSettings as error:
        for problem in error.problems:
            print(f"paintonce: {problem}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except Failed as error:
        print(f"paintonce: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], Coroutine[None, None, int]]] = {
    "serve": lambda _: serve(),
    "dev": lambda chosen: dev(chosen.port, chosen.data),
    "keys": keys,
    "sign": sign,
    "warm": lambda chosen: warm(
        chosen.file, chosen.project, chosen.url, chosen.concurrency
    ),
    "rebuild": lambda chosen: (
        remove_orphans(chosen.project, chosen.rate)
        if chosen.orphans
        else rebuild(chosen.project, chosen.rate, adopts=chosen.adopt)
    ),
    "check": lambda chosen: check(providers=chosen.providers),
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
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers.add_parser("serve", help="run a replica; needs REDIS_URL and S3_BUCKET")
    developing = parsers.add_parser(
        "dev", help="run everything on this machine, without an account anywhere"
    )
    developing.add_argument(
        "--port", type=_port, default=None, help="where to listen (8080)"
    )
    developing.add_argument(
        "--data", type=Path, default=Path("var"), help="where it is kept (./var)"
    )
    add_key_arguments(parsers.add_parser("keys", help="make, list and revoke keys"))
    add_sign_arguments(
        parsers.add_parser("sign", help="print a signed address for an <img>")
    )
    warming = parsers.add_parser(
        "warm", help="paint the prompts of a file through a running service"
    )
    warming.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a prompt a line, or a JSON object of parameters a line",
    )
    warming.add_argument("--project", metavar="ORG/PROJECT", help="of an admin key")
    warming.add_argument(
        "--url", default="http://127.0.0.1:8080", help="the service (%(default)s)"
    )
    warming.add_argument(
        "--concurrency",
        type=_concurrency,
        default=4,
        metavar="N",
        help="pictures at once (%(default)s)",
    )
    rebuilding = parsers.add_parser(
        "rebuild", help="restore the entries in Redis from the object store"
    )
    rebuilding.add_argument(
        "project", nargs="?", metavar="ORG/PROJECT", help="one project; else all"
    )
    rebuilding.add_argument(
        "--rate",
        type=_rate,
        default=200.0,
        metavar="N",
        help="manifests a second at the most (200)",
    )
    instead = rebuilding.add_mutually_exclusive_group()
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
    checking = parsers.add_parser(
        "check", help="try Redis, the object store and the models; 1 if any fails"
    )
    checking.add_argument(
        "--providers",
        action="store_true",
        help="also ask each provider for what costs nothing, where it has such a thing",
    )
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:  # noqa: PLR2004 - RFC 9293
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _concurrency(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100:  # noqa: PLR2004 - as many as aiohttp connects
        raise argparse.ArgumentTypeError("a concurrency is from 1 to 100")
    return number


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate <= 100_000:  # noqa: PLR2004 - a bound against typing errors
        raise argparse.ArgumentTypeError("a rate is above 0 and at most 100000")
    return rate


if __name__ == "__main__":
    status = main()
    # Python would search all that was loaded for cycles before it ends, which
    # takes a third of a second of the one that a drain has after its grace.
    gc.freeze()
    sys.exit(status)
