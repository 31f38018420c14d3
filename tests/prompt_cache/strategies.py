"""Hypothesis strategies for parameters and entries."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import strategies as st

from app.generation.provenance import BY_A_MODEL, BY_A_PROGRAM, Provenance
from app.image import EXTENSIONS
from app.prompt_cache.entry.entry import PromptEntry
from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from app.storage.storage_key import Project

_SEGMENTS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True)
_IDS = st.uuids().map(str)


def _with_digests(parameters: Parameters) -> Parameters:
    """Give each reference and the mask a digest of its own."""
    digests = [sha256(name.encode()).hexdigest() for name in parameters.references]
    mask = parameters.mask
    return parameters._replace(
        reference_digests=tuple(digests),
        mask_digest=sha256(mask.encode()).hexdigest() if mask else None,
    )


PROJECTS = st.builds(Project, _SEGMENTS, _SEGMENTS)
PARAMETERS = st.builds(
    Parameters,
    prompt=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
    model=st.sampled_from(["default", "slow", "gpt-image-2"]),
    aspect_ratio=st.none() | st.sampled_from(["1:1", "16:9"]),
    width=st.none() | st.integers(64, 4096),
    height=st.none() | st.integers(64, 4096),
    seed=st.none() | st.integers(0, 2**32 - 1),
    variant=st.integers(0, 15),
    references=st.lists(_IDS, max_size=3).map(tuple),
    quality=st.none() | st.sampled_from(["low", "high"]),
    background=st.none() | st.just("transparent"),
    moderation=st.none() | st.just("low"),
    style=st.none() | st.just("natural"),
    negative_prompt=st.none() | st.just("text"),
    mask=st.none() | _IDS,
).map(_with_digests)
KEYS = st.builds(PromptKey, PROJECTS, PARAMETERS)


PROVENANCES = st.builds(
    Provenance,
    c2pa=st.booleans(),
    c2pa_lost=st.booleans(),
    digital_source_type=st.sampled_from(
        [None, BY_A_MODEL, BY_A_PROGRAM, "urn:example:something-else"]
    ),
    marked=st.booleans(),
)


@st.composite
def _entries(draw: st.DrawFn) -> PromptEntry:
    key = draw(KEYS)
    return PromptEntry(
        prompt_hash=key.hash,
        project=key.project,
        parameters=key.parameters,
        image_id=draw(_IDS),
        media_type=draw(st.sampled_from(sorted(EXTENSIONS))),
        size=draw(st.integers(1, 2**32 - 1)),
        digest=draw(st.binary(min_size=32, max_size=32)).hex(),
        width=draw(st.integers(1, 50_000)),
        height=draw(st.integers(1, 50_000)),
        model=draw(st.sampled_from(["default", "a-fall-back"])),
        price=draw(st.sampled_from([0.0, 0.04, 1.5])),
        is_placeholder=draw(st.booleans()),
        created_ms=draw(st.integers(0, 4_102_444_800_000)),
        generation_id=draw(_IDS),
        provenance=draw(PROVENANCES),
    )


ENTRIES = _entries()
