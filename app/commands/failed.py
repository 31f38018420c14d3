"""The error of a command that can't do its task."""

from __future__ import annotations


class Failed(Exception):
    """The command can't do what it was asked for; the sentence says why."""
