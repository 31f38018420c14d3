"""The commands of docs/how-to/budgets.md, with a service whose pictures cost money."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import aiohttp
import pytest

from app.client import Paintonce, PaintonceError
from tests.documents.shell import ADDRESS, blocks
from tests.models_of_replicas import models_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.documents.shell import Shell
    from tests.replica import Replica

PAGE = "how-to/budgets.md"
ADMIN_KEY = "the-lighthouse-keeper-keeps-the-key"
CHANGED_WITHIN_SECONDS = 5.0


async def refusal(client: Paintonce, prompt: str) -> PaintonceError:
    """Return the reason why *prompt* is not painted."""
    with pytest.raises(PaintonceError) as refused:
        await client.generate(prompt)
    return refused.value


async def until_painted(client: Paintonce, prompt: str) -> None:
    """Return when *prompt* is painted."""
    async with asyncio.timeout(CHANGED_WITHIN_SECONDS):
        while True:
            try:
                await client.generate(prompt)
            except PaintonceError:
                await asyncio.sleep(0.1)
            else:
                return


@pytest.mark.long
async def test_a_budget_ends_and_is_raised(
    operator: Callable[..., AbstractAsyncContextManager[tuple[Replica, Shell]]],
    tmp_path: Path,
) -> None:
    """Two pictures fit the budget, and the third one fits after it is raised."""
    look, refused, raising, stopping, bill = blocks(PAGE)
    models = '[models.default]\nprovider = "placeholder"\nprice = 0.25\n'
    async with operator(
        ADMIN_API_KEY=ADMIN_KEY,
        BUDGET_PER_DAY="0.5",
        PROVIDERS_FILE=models_file(tmp_path, models),
    ) as (service, shell):
        async with (
            aiohttp.ClientSession(service.url) as session,
            session.post(
                "/api/v1/keys",
                json={"project": "acme/shop"},
                headers={"X-API-Key": ADMIN_KEY},
            ) as made,
        ):
            key = (await made.json())["key"]
        shell.run(f"KEY={key} ADMIN={ADMIN_KEY}")

        def page(commands: str) -> str:
            return shell.run(commands.replace(ADDRESS, service.url))

        async with Paintonce(service.url, key) as client:
            for prompt in ("a red fox", "a barn owl"):
                await client.generate(prompt)
            spent = json.loads(page(look))
            assert (spent["spent_today"], spent["budget_per_day"]) == (0.5, 0.5)
            answer = page(refused).replace("\r", "")
            assert blocks(PAGE, "text")[0].strip() in answer
            assert "Retry-After: " in answer
            assert (await client.generate("a red fox")).hits == 1

            assert json.loads(page(raising))["budget_per_day"] == 1.0
            await until_painted(client, "one too many")

            assert json.loads(page(stopping))["generation"] is False
            impatient = Paintonce(service.url, key, tries=1)
            async with impatient:
                error = await refusal(impatient, "one more")
            assert error.code == "generation_disabled"
            assert (await client.generate("a red fox")).hits == 2
        assert json.loads(page(bill))["total"] == 0.75
