"""What a command says when it can't do what it was asked for."""

from __future__ import annotations


class Failed(Exception):
    """The command can't do what it was asked for; the sentence says why."""
