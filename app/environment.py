"""The environment as an operator means it: `.env` counts, what is empty does not."""

from __future__ import annotations

import os

from dotenv import dotenv_values

_FILE = ".env"


def environment() -> dict[str, str]:
    """Return the environment over `.env`; what is empty is as if unset."""
    merged = {**dotenv_values(_FILE), **os.environ}
    return {name: value for name, value in merged.items() if value}


def export(prefix: str) -> None:
    """Have libraries that read the environment by themselves find *prefix* names.

    What stands in `.env` becomes part of it, unless it is there already.
    """
    for name, value in dotenv_values(_FILE).items():
        if name.startswith(prefix) and value and not os.environ.get(name):
            os.environ[name] = value
