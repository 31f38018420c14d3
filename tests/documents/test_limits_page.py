"""The page of limits has the figures of the code."""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import get_args, get_type_hints

import pytest

from app.access.keys import MAX_LIVE_KEYS
from app.access.look_ups import PER_SECOND_OF_REPLICA
from app.api.entries import MAX_ENTRIES, MAX_HOURS
from app.api.openai.edit_form import MAX_EDIT_BYTES, MAX_PARTS
from app.api.parameters import (
    LONGEST_NEGATIVE_PROMPT,
    LONGEST_OPTION,
    MAX_REFERENCES,
    MAX_REQUEST_PIXELS,
)
from app.api.prompt_text import LONGEST_PROMPT, LONGEST_PROMPT_IN_BODY
from app.api.query_cache import KEPT, LONGEST_KEPT
from app.api.transient_images import LONGEST_TTL_SECONDS, MAX_IDS
from app.generation.config.model_table import ModelTable
from app.generation.finishing import RESIZED_AT_ONCE
from app.generation.transport.documents import _MAX_VALUES
from app.http.body_budget import BODIES_BYTES, SMALL_BODIES_BYTES
from app.http.incoming_bodies import BODY_DEADLINE_SECONDS
from app.http.json_bodies import MAX_JSON_BYTES, MAX_VALUES
from app.http.query import MAX_PARAMETERS
from app.image import MAX_PIXELS
from app.prompt_cache.bulk_purge import MAX_PROMPTS
from app.prompt_cache.painting.hot_tier import LARGEST_SHARE
from app.refusal_hold import PER_SECOND as REFUSALS_PER_SECOND
from app.server.connection import WRITE_DEADLINE_SECONDS
from app.server.listener import KEEPALIVE_SECONDS
from app.server.parser_refusals import (
    MAX_FIELD_BYTES,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_TARGET_BYTES,
)
from app.spending.scopes import MAX_AUTO_CREATED
from app.spending.visitor_limit import PER_SECOND_OF_REPLICA as OF_VISITORS
from app.storage.redis.client.pipeline import MAX_WAITING
from app.storage.redis.client.traffic import SLICE_WAITS_SECONDS, SLICES_AT_ONCE
from app.storage.s3.store import _CALLS_AT_ONCE, _STREAMS_AT_ONCE, STREAM_WAITS_SECONDS
from app.storage.s3.timeouts import MAX_WAITING_SECONDS
from app.telemetry.logs import _BACKLOG
from app.transient_images.assemble import REFERENCES_BYTES
from app.transient_images.store import MAX_PICTURES

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "limits.md"

FIGURES: dict[str, float] = {
    "Bytes of a request target": MAX_TARGET_BYTES,
    "Bytes of a header field": MAX_FIELD_BYTES,
    "Header fields": MAX_FIELDS,
    "Bytes of a request's head": MAX_HEAD_BYTES,
    "Seconds for the head of a request, and of an idle connection": KEEPALIVE_SECONDS,
    "Query parameters": MAX_PARAMETERS,
    "Characters of a prompt in a URL, after NFC": LONGEST_PROMPT,
    "Characters of a prompt in a body, after NFC": LONGEST_PROMPT_IN_BODY,
    "Characters of `negative_prompt`": LONGEST_NEGATIVE_PROMPT,
    "Characters of any other option of the picture": LONGEST_OPTION,
    "Bytes of a JSON body": MAX_JSON_BYTES,
    "Values in a JSON body": MAX_VALUES,
    "Bytes of the pictures of an edit": MAX_EDIT_BYTES,
    "Parts of an edit's form": MAX_PARTS,
    "Seconds for a body": BODY_DEADLINE_SECONDS,
    "Reference pictures of a painting": MAX_REFERENCES,
    "Ids to delete in one call": MAX_IDS,
    "Prompts to purge in one call": MAX_PROMPTS,
    "Entries of a page": MAX_ENTRIES,
    "Pixels of a picture": MAX_PIXELS,
    "Pixels of an exact size": MAX_REQUEST_PIXELS,
    "Announced bytes of the bodies that are being read": BODIES_BYTES,
    "Further bytes, for bodies of up to a mebibyte alone": SMALL_BODIES_BYTES,
    "Bytes of reference pictures in memory": REFERENCES_BYTES,
    "Pictures that are being resized": RESIZED_AT_ONCE,
    "Commands to Redis that wait for their answer": MAX_WAITING,
    "Slices of transient images that are being read from Redis": SLICES_AT_ONCE,
    "Reads of pictures from the object store": _STREAMS_AT_ONCE,
    "Other calls to the object store": _CALLS_AT_ONCE,
    "Seconds for which a client may read nothing": WRITE_DEADLINE_SECONDS,
    "Look-ups of unknown keys in the ledger, a second": PER_SECOND_OF_REPLICA,
    "Look-ups of unpainted prompts through scopes, a second": OF_VISITORS,
    "Refusals of such look-ups, a second": REFUSALS_PER_SECOND,
    "Live keys of a project, of each kind": MAX_LIVE_KEYS,
    "Scopes of a project that were made by their first request": MAX_AUTO_CREATED,
    "Records of the log that wait to be written": _BACKLOG,
    "Transient images of a project": MAX_PICTURES,
    "Seconds of a `ttl`": LONGEST_TTL_SECONDS,
    "Parsed queries that a replica remembers": KEPT,
    "Characters of a query that is remembered": LONGEST_KEPT,
    "Hours of statistics": MAX_HOURS,
    "Values in a provider's JSON": _MAX_VALUES,
}


def rows() -> dict[str, tuple[str, str]]:
    """Return value and consequence of each limit of the page."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return {bound: (figure, beyond) for bound, figure, beyond in cells}


@pytest.mark.parametrize("bound", FIGURES)
def test_a_figure_is_the_codes(bound: str) -> None:
    """Every limit of the page has the value of the code."""
    assert rows()[bound][0] == f"{FIGURES[bound]:,.0f}"


def test_lines_are_as_long_as_the_page_says() -> None:
    """The waiting times in the page's sentences are those of the code."""
    page = rows()

    slices = page["Slices of transient images that are being read from Redis"][1]
    assert f"up to {SLICE_WAITS_SECONDS:.0f} s" in slices
    reads = page["Reads of pictures from the object store"][1]
    assert f"up to {STREAM_WAITS_SECONDS} s" in reads
    calls = page["Other calls to the object store"][1]
    assert f"up to {MAX_WAITING_SECONDS} s" in calls
    assert LARGEST_SHARE == 8


def test_the_models_file_is_bound_as_the_page_says() -> None:
    """The bounds of the models file are those of its model in the code."""
    page = rows()
    hints = get_type_hints(ModelTable, include_extras=True)

    def bounds(name: str) -> dict[str, float]:
        hint = hints[name]
        if NoneType in get_args(hint):
            (hint,) = set(get_args(hint)) - {NoneType}
        _, field = get_args(hint)
        return {
            kind: getattr(one, kind)
            for one in field.metadata
            for kind in ("ge", "le", "max_length")
            if hasattr(one, kind)
        }

    for name in ("concurrency", "queue"):
        bound = bounds(name)
        assert page[f"`{name}`"][0] == f"{bound['ge']} to {bound['le']:,}"
    for name in ("deadline_seconds", "ambiguous_hold_seconds", "price"):
        assert page[f"`{name}`"][0] == f"up to {bounds(name)['le']:,}"
    assert page["Characters of `model`"][0] == f"{bounds('model')['max_length']}"
