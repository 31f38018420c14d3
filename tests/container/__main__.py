"""`python -m tests.container` brings compose.yaml up on a machine without Docker."""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.container.composed import Composed, composed, make_images
from tests.container.engine import EngineFailed, NotHere, engine

if TYPE_CHECKING:
    from collections.abc import Mapping

_TARGET = "/api/v1/live/generate?prompt=a+lighthouse+in+a+storm"
_READY_WITHIN_SECONDS = 120.0
_ASKED_BY_EACH = 20
# nginx looks names up every two seconds, and podman's name server keeps it waiting.
_LOOKED_UP_SECONDS = 5.0


def main() -> int:
    """Bring compose.yaml up, try it, and take it down; print what is missing."""
    options = _options()
    # Both signals end it in an orderly way, so that nothing stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with engine() as running:
            for image in make_images(running):
                _say(f"image {image}")
            _say("compose up")
            with composed(running, port=options.port) as installation:
                _until_ready(installation)
                _try(installation)
                if options.stay:
                    _stay(installation)
    except NotHere as reason:
        print(f"not here: {reason}", file=sys.stderr)
        return 1
    except EngineFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    _say("everything is gone again")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.container",
        description=(
            "Brings compose.yaml up without a Docker engine: podman, with Debian's "
            "packages in place of the images of Redis, nginx and the object store. "
            "Two replicas serve through nginx; then both are replaced, one after "
            "the other. Needs root, Debian, podman, buildah, crun, netavark, "
            "aardvark-dns, iptables, mmdebstrap, MinIO and its client mc. Nothing "
            "stays behind."
        ),
    )
    parser.add_argument(
        "--stay", action="store_true", help="serve until Ctrl-C instead of ending"
    )
    parser.add_argument(
        "--port", type=int, default=0, help="where nginx is to be reached; default free"
    )
    return parser.parse_args()


def _try(installation: Composed) -> None:
    """Paint once, hit through both replicas, replace both, and hit again."""
    answer = _paint(installation)
    _say(f"first answer: {answer['X-Cache-Status']}")
    _say(f"then: {_hits(installation)}")
    for service in ("paintonce-1", "paintonce-2"):
        before = installation.address(service)
        installation.replace(service)
        time.sleep(_LOOKED_UP_SECONDS)
        _say(f"{service} was {before}, is {installation.address(service)}")
        _say(f"then: {_hits(installation)}")


def _paint(installation: Composed) -> Mapping[str, str]:
    """Request until it is painted, because a new store may be slow at first."""
    give_up_at = time.monotonic() + _READY_WITHIN_SECONDS
    while True:
        try:
            return _ask(installation)
        except EngineFailed:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(1)


def _hits(installation: Composed) -> str:
    """Request often; count the cache statuses."""
    answers = [_ask(installation) for _ in range(_ASKED_BY_EACH)]
    seen = Counter(answer["X-Cache-Status"] for answer in answers)
    counts = [int(answer["X-Cache-Hit-Count"]) for answer in answers]
    return f"{dict(seen)}, hit counts {counts[0]} to {counts[-1]}"


def _ask(installation: Composed) -> Mapping[str, str]:
    """Request the prompt; return the headers of a 200, else exit."""
    status, headers, body = _get(installation, _TARGET)
    if status != http.HTTPStatus.OK:
        raise EngineFailed(f"{status}: {body!r}")
    return headers


def _get(installation: Composed, target: str) -> tuple[int, Mapping[str, str], bytes]:
    """Send a request to nginx on a connection of its own."""
    address = urlsplit(installation.url)
    connection = http.client.HTTPConnection(address.netloc, timeout=30)
    key = {"X-API-Key": installation.admin_key, "X-Project": "acme/shop"}
    try:
        connection.request("GET", target, headers=key)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def _until_ready(installation: Composed) -> None:
    """Return when the service is ready through nginx."""
    give_up_at = time.monotonic() + _READY_WITHIN_SECONDS
    while time.monotonic() < give_up_at:
        try:
            status, _, body = _get(installation, "/readyz")
        except (OSError, http.client.HTTPException):
            status, body = 0, b""
        if status == http.HTTPStatus.OK and json.loads(body)["status"] == "ok":
            _say(f"ready: {body.decode()}")
            return
        time.sleep(0.5)
    for service in ("paintonce-1", "nginx", "redis", "object-store"):
        print(f"--- {service}\n{installation.logs(service)}", file=sys.stderr)
    raise EngineFailed("not ready in time")


def _stay(installation: Composed) -> None:
    """Serve until Ctrl-C."""
    _say(f"{installation.url} serves, until Ctrl-C")
    _say(f"curl -H 'X-API-Key: {installation.admin_key}' -H 'X-Project: acme/shop' ...")
    with suppress(KeyboardInterrupt):
        signal.pause()


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
