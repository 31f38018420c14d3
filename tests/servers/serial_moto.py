"""moto as an S3 server, one request at a time: `python serial_moto.py PORT`.

Its own server checks and writes conditional requests in threads. One lock makes them
atomic, like those of S3.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


def main(port: int) -> None:
    """Serve on 127.0.0.1 until the process ends."""
    moto = DomainDispatcherApplication(create_backend_app)
    turn = threading.Lock()

    def serve(
        environment: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        with turn:
            answer: Iterable[bytes] = moto(environment, start_response)
            return answer

    run_simple(
        "127.0.0.1", port, serve, threaded=True, request_handler=MotoRequestHandler
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
