"""Fixtures for tests of adapters: the fake provider and a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.generation import jobs
from app.generation.transport import polling
from app.generation.transport.outbound import open_outbound_session
from tests.fake_provider import FakeProvider, serve
from tests.generation.vendor_cases import Served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp


@pytest.fixture
def provider() -> FakeProvider:
    """Give a provider that has got no request yet."""
    return FakeProvider()


@pytest.fixture
async def origin(provider: FakeProvider) -> AsyncIterator[str]:
    """Give the origin under which the provider is served."""
    async with serve(provider) as origin:
        yield origin


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give a client session as the service opens it."""
    async with open_outbound_session() as session:
        yield session


@pytest.fixture
def served(origin: str, session: aiohttp.ClientSession) -> Served:
    """Give the provider's origin together with the session."""
    return Served(origin, session)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll jobs with short pauses, and look for a result at most 0.2 s longer."""
    monkeypatch.setattr(polling, "FIRST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(polling, "LONGEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(polling, "ROW_SECONDS", 0.05)
    monkeypatch.setattr(jobs, "LAST_LOOK_SECONDS", 0.2)
