"""Every end of a call to a provider, row by row of the table in operations.md.

Each row is provoked at a real HTTP server and requested through the service. The tests
compare the caller's answer, the journal, the fall-back and that a repetition does not
pay.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from app.generation.assemble import build_models
from app.generation.model_config import ModelConfig
from app.generation.transport import polling
from app.generation.transport.outbound import open_outbound_session
from tests.access.service import ADMIN, LIVE, running
from tests.fake_provider import FakeProvider, serve
from tests.fake_provider.dialects import DIALECTS
from tests.servers import free_port

if TYPE_CHECKING:
    from app.telemetry import Metrics
    from tests.access.service import Answer, Paintonce
    from tests.fakes import World

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "operations.md"
HEADING = "## Every end of a call to a provider"
PRICE = 0.04
MODERATED = {"error": {"code": "moderation_blocked", "message": "no"}}

# The cause of each row: dialect, mode and further fields.
CAUSES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "picture": ("openai", "ok", {}),
    "no_picture": ("openai", "empty_data", {}),
    "broken_picture": ("openai", "picture_broken_png", {}),
    "refused": ("openai", "moderation", {}),
    "withheld": ("openai", "error", {"status": 200, "body": MODERATED}),
    "rate_limited": ("openai", "rate_limited", {}),
    "bad_request": ("openai", "bad_request", {}),
    "account": ("openai", "unauthenticated", {}),
    "error": ("openai", "server_error", {}),
    "unreachable": ("openai", "ok", {}),
    "gateway": ("openai", "bad_gateway", {}),
    "gateway_timeout": ("openai", "gateway_timeout", {}),
    "cut": ("openai", "reset_before_headers", {}),
    "time_out": ("openai", "never", {}),
    "job_failed": ("replicate", "failed", {}),
    "job_refused": ("replicate", "moderation", {}),
    "job_never_ran": ("replicate", "aborted", {}),
    "job_lost": ("replicate", "bad_id", {}),
}


class Row(NamedTuple):
    """One row of the table."""

    end: str
    answer: str
    retry_after: str
    booked: str
    fallback: str


def rows() -> dict[str, Row]:
    """Return the table's rows by their first cell."""
    below = PAGE.read_text().split(f"{HEADING}\n", 1)[1].split("\n## ", 1)[0]
    found = {}
    for line in below.splitlines():
        if name := re.match(r"\| `(\w+)` \|", line):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            found[name[1]] = Row(name[1], *cells[2:6])
    return found


def test_every_row_is_provoked() -> None:
    """The rows of the table and of the tests are the same."""
    assert rows().keys() == CAUSES.keys()


@pytest.mark.parametrize("end", CAUSES)
async def test_each_end_is_answered_booked_and_followed(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answer, journal and fall-back of each end are those of the table."""
    monkeypatch.setattr(polling, "FIRST_PAUSE_SECONDS", 0.005)
    row, provider = rows()[end], FakeProvider()
    dialect, mode, more = CAUSES[end]
    provider.behave(mode, dialect=dialect, **more)
    async with serve(provider) as origin, open_outbound_session() as session:

        def models(_world: World, metrics: Metrics) -> Any:
            at = f"http://127.0.0.1:{free_port()}" if end == "unreachable" else origin
            return build_models(
                {model.alias: model for model in configs(dialect, at, origin)},
                session=session,
                max_image_bytes=1 << 20,
                marks=False,
                observer=metrics,
                generation_timeout_seconds=30,
            )

        async with running(make_models=models) as service:
            await check_alone(service, provider, row)
            await check_chained(service, row)


def configs(dialect: str, at: str, origin: str) -> list[ModelConfig]:
    """Return a failing model, one with a fall-back, and the fall-back."""
    kind = DIALECTS[dialect]
    failing = ModelConfig(
        "alone",
        dialect,
        model=kind.example,
        base_url=at + kind.base_path,
        price=PRICE,
        deadline_seconds=1.0,
    )
    spare = ModelConfig(
        "spare",
        "a1111",
        base_url=origin + DIALECTS["a1111"].base_path,
    )
    chained = ModelConfig(
        **{
            **{name: getattr(failing, name) for name in failing.__slots__},
            "alias": "chained",
            "fallbacks": ("spare",),
        }
    )
    return [failing, chained, spare]


async def check_alone(service: Paintonce, provider: FakeProvider, row: Row) -> None:
    """Request a prompt of the failing model twice; check answer and journal."""
    first = await paint(service, "alone")
    asked = len(provider.calls)
    second = await paint(service, "alone")

    status, code = re.fullmatch(r"(\d+)(?: `(\w+)`)?", row.answer).groups()  # type: ignore[union-attr]
    assert (first.status, first.code) == (int(status), code)
    assert (second.status, second.code) == (int(status), code)
    if row.retry_after == "none":
        assert "Retry-After" not in first.headers
    else:
        assert first.headers["Retry-After"] == row.retry_after
        assert int(second.headers["Retry-After"]) >= int(row.retry_after) - 2
    # A repetition pays nothing.
    assert len(provider.calls) == asked <= 1
    spend = (await service.get("/api/v1/project/spend", ADMIN)).json
    if row.booked == "nothing":
        assert spend["calls"] == []
    else:
        (call,) = spend["calls"]
        assert row.booked == f"the price, `{call['outcome']}`"
        assert call["amount"] == PRICE


async def check_chained(service: Paintonce, row: Row) -> None:
    """Request a prompt of the model with a fall-back."""
    answer = await paint(service, "chained")

    if row.fallback == "asked":
        assert (answer.status, answer.headers["X-Model"]) == (200, "spare")
    else:
        assert row.fallback == "not asked"
        assert answer.headers.get("X-Model") != "spare"


async def paint(service: Paintonce, model: str) -> Answer:
    """Request the prompt."""
    return await service.get(LIVE, ADMIN, prompt="a lighthouse", model=model)
