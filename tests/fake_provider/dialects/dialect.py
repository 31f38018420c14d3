"""The fake provider's knowledge of a vendor's dialect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fake_provider.answers import ANSWERS
from tests.fake_provider.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.fake_provider.answers import Mode
    from tests.fake_provider.provider import FakeProvider
    from tests.fake_provider.records import Call

PROVIDER: web.AppKey[FakeProvider] = web.AppKey("PROVIDER")


@dataclass(frozen=True, slots=True)
class Dialect:
    """One vendor's way to talk.

    *paths* are where to post what is to be painted, *others* all further
    routes. *read* takes prompt and pictures out of a parsed body. *base_path*
    is what an adapter's `base_url` ends with; *example* a model's id.
    """

    name: str
    base_path: str
    example: str
    paths: tuple[str, ...]
    read: Callable[[Call], None]
    own_modes: Mapping[str, Mode]
    others: tuple[web.RouteDef, ...] = ()
    has_jobs: bool = False

    @property
    def modes(self) -> dict[str, Mode]:
        """Every mode of this dialect by name."""
        return {**FAULTS, **ANSWERS, **self.own_modes}


def pick(document: Any, *path: str | int) -> Any:
    """Return the value at *path*, None if there is none."""
    for step in path:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return None
    return document
