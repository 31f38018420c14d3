"""The log: each record is written by a thread of its own (`log_lines` has the text)."""

from __future__ import annotations

import atexit
import contextlib
import logging
import queue
import secrets
import threading
from collections.abc import Callable
from logging.handlers import QueueHandler, QueueListener
from typing import Literal, TextIO

from app.telemetry.log_lines import OURS, JsonFormatter, Pseudonyms, TextFormatter

# A log that is not read must not fill the memory: about 10 MB of records.
_BACKLOG = 10_000


def configure_logging(
    level: str,
    log_format: Literal["json", "text"],
    *,
    stream: TextIO | None = None,
    secret: str | None = None,
) -> Callable[[], None]:
    """Send all records to *stream* (standard error unless given).

    Records of libraries come through from WARNING up: below that they tell of
    requests in full. A stream that blocks holds a thread and never the event
    loop; what does not fit in the backlog is dropped. Prompt hashes are keyed
    with *secret*, else with one of this process alone. Call it once; what it
    returns writes the rest and stops (so does the end of the process).
    """
    pseudonyms = Pseudonyms(secret or secrets.token_hex())
    outlet = _Outlet(queue.Queue(_BACKLOG))
    formatter = JsonFormatter if log_format == "json" else TextFormatter
    outlet.setFormatter(formatter(pseudonyms))
    writer = _Writer(outlet.queue, logging.StreamHandler(stream))
    root, ours = logging.getLogger(), logging.getLogger(OURS)
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.addHandler(outlet)
    root.setLevel(max(logging.WARNING, logging.getLevelName(level)))
    ours.setLevel(level)
    # Pillow's warnings about a picture become records, too.
    logging.captureWarnings(capture=True)
    writer.start()

    def stop() -> None:
        atexit.unregister(stop)
        logging.captureWarnings(capture=False)
        root.removeHandler(outlet)
        writer.stop()

    atexit.register(stop)
    return stop


class _Outlet(QueueHandler):
    """Formats where a record arises, because there its request is known."""

    queue: queue.Queue[object]

    def enqueue(self, record: logging.LogRecord) -> None:
        """Pass *record* on, or drop it where the writer is too far behind."""
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait(record)


class _Writer(QueueListener):
    """The thread that writes; it ends even where the stream is not read."""

    queue: queue.Queue[object]
    _thread: threading.Thread | None

    def stop(self) -> None:
        """Write what is waiting, for a second at the most."""
        if self._thread is None:
            return
        while True:
            try:
                self.queue.put_nowait(None)
                break
            except queue.Full:
                # The stream is not read: one record makes room for the sign to end.
                with contextlib.suppress(queue.Empty):
                    self.queue.get_nowait()
        self._thread.join(timeout=1)
        self._thread = None
