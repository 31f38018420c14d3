"""The environment as an operator means it: `.env` counts, an empty value does not."""

from __future__ import annotations

import os

from dotenv import dotenv_values

_FILE = ".env"

# Of `IMAGE_URL_THRESHOLD_BYTES`, which callers' processes read as well.
DEFAULT_THRESHOLD_BYTES = 262_144

# Here alone an empty value says something: no origin at all.
_MAY_BE_EMPTY = frozenset({"CORS_ALLOWED_ORIGINS"})


def environment() -> dict[str, str]:
    """Return the environment over `.env`; an empty value is as if unset."""
    return {
        name: value
        for given in (dotenv_values(_FILE), os.environ)
        for name, value in given.items()
        if value or (value is not None and name in _MAY_BE_EMPTY)
    }


def export(prefix: str) -> None:
    """Have libraries that read the environment by themselves find *prefix* names.

    What stands in `.env` becomes part of it, unless it is there already.
    """
    for name, value in dotenv_values(_FILE).items():
        if name.startswith(prefix) and value and not os.environ.get(name):
            os.environ[name] = value
