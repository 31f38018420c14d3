"""The interpreter's settings for an event loop beside busy threads."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import pytest

from app.server.interpreter import keep_loop_responsive

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def interpreter() -> Iterator[None]:
    """Restore the interpreter's settings after a test."""
    seconds = sys.getswitchinterval()
    yield
    sys.setswitchinterval(seconds)
    gc.unfreeze()


@pytest.mark.usefixtures("interpreter")
def test_threads_give_the_interpreter_back_soon() -> None:
    """The event loop waits at most half a millisecond for Python code of a thread."""
    keep_loop_responsive()

    assert sys.getswitchinterval() <= 0.0005


@pytest.mark.usefixtures("interpreter")
def test_what_is_loaded_is_not_searched_for_garbage() -> None:
    """Collections leave out all that was there before the first request."""
    keep_loop_responsive()

    assert gc.get_freeze_count() > 10_000
