"""The head of a live answer, built by aiohttp and as prepared bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from app.api.picture_answers import live_headers, live_lines
from app.http.picture_headers import Part
from app.prompt_cache.cache import Answer, LookupOutcome
from tests.prompt_cache.strategies import ENTRIES

if TYPE_CHECKING:
    from app.prompt_cache.entry.entry import PromptEntry


@given(
    entry=ENTRIES,
    outcome=st.sampled_from(LookupOutcome),
    hits=st.none() | st.integers(1, 2**53),
    generation_id=st.none() | st.uuids().map(str),
)
def test_both_renderings_say_the_same(
    entry: PromptEntry,
    outcome: LookupOutcome,
    hits: int | None,
    generation_id: str | None,
) -> None:
    """A prepared head has exactly the fields of the one that aiohttp builds."""
    answer = Answer(entry, outcome, hits=hits, generation_id=generation_id)
    caching = Part.of({"Cache-Control": "public, max-age=60"})

    said = live_lines(answer, caching).decode().splitlines()

    fields = dict(line.split(": ", 1) for line in said)
    ordinary = live_headers(answer, caching)
    del ordinary["Content-Type"]
    assert len(said) == len(fields)
    assert fields == dict(ordinary)
