"""Settings of Python's interpreter that keep the event loop responsive."""

from __future__ import annotations

import gc
import sys

# A thread that paints or encodes keeps the interpreter for at least this long
# once it has it. The event loop gives it up at each send and receive, so with
# Python's five milliseconds every step of every request waits for as long.
SWITCH_SECONDS = 0.0005


def keep_loop_responsive() -> None:
    """Shorten what the event loop waits for threads and for garbage collection.

    Call it once all is imported. What is there then is left out of later
    collections, which stop everything: with 600 connections the longest took
    160 ms.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
