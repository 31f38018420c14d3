"""The commands of docs/how-to/live-scopes.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.documents.shell import ADDRESS, blocks

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.documents.shell import Shell
    from tests.replica import Replica

PAGE = "how-to/live-scopes.md"


@pytest.mark.long
async def test_a_scope_paints_as_many_as_it_may(
    operator: Callable[..., AbstractAsyncContextManager[tuple[Replica, Shell]]],
) -> None:
    """A scope with a limit of two refuses the third new picture and no painted one."""
    opening, painting, beyond, closing = blocks(PAGE)
    expected = iter(blocks(PAGE, "text"))
    async with operator() as (service, shell):
        made = shell.run("python -m app keys create acme/shop")
        shell.run(f"KEY={made.strip().splitlines()[-1]}")

        def page(commands: str) -> str:
            return shell.run(commands.replace(ADDRESS, service.url)).replace("\r", "")

        assert json.loads(page(opening))["limit"] == 2
        for commands in (painting, beyond):
            printed = page(commands).splitlines()
            for line in next(expected).splitlines():
                printed.remove(line)
        closed = json.loads(page(closing))
        assert (closed["allow_new"], closed["generated"]) == (False, 2)
