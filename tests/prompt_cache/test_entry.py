"""What a prompt became, in the spelling of the ledger and in that of Redis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.prompt_cache.entry import PromptEntry, UnreadableManifest
from tests.prompt_cache.strategies import ENTRIES


@given(ENTRIES)
def test_a_manifest_says_everything(entry: PromptEntry) -> None:
    """What the ledger keeps restores the entry to the last detail."""
    assert PromptEntry.from_manifest(entry.to_manifest()) == entry


@given(ENTRIES)
def test_a_record_says_everything_but_the_generation(entry: PromptEntry) -> None:
    """What Redis keeps is the same entry: the same answer from either."""
    read = PromptEntry.from_record(entry.prompt_hash, entry.to_record())

    assert read == replace(entry, generation_id="")
    assert read.key.hash == entry.prompt_hash
    assert read.to_record() == entry.to_record()


@given(ENTRIES)
def test_a_record_is_small(entry: PromptEntry) -> None:
    """There are millions of records: nothing is spelled out that can be derived."""
    assert len(entry.to_record()) < len(entry.to_manifest()) / 1.5


@given(ENTRIES)
def test_a_manifest_is_for_people(entry: PromptEntry) -> None:
    """Whoever opens a manifest finds the names of the contract."""
    manifest = orjson.loads(entry.to_manifest())

    assert manifest["storage_key"] == str(entry.storage_key)
    assert manifest["sha256"] == entry.digest
    assert manifest["parameters"]["prompt"] == entry.parameters.prompt
    assert manifest["project"] == str(entry.project)


@given(ENTRIES, st.data())
def test_a_damaged_manifest_is_unreadable(
    entry: PromptEntry, data: st.DataObject
) -> None:
    """A manifest that was cut off is told as such, never as another error."""
    manifest = entry.to_manifest()
    cut = data.draw(st.integers(0, len(manifest) - 1))

    with pytest.raises(UnreadableManifest):
        PromptEntry.from_manifest(manifest[:cut])


@given(ENTRIES, st.data())
def test_a_manifest_that_lacks_something_is_unreadable(
    entry: PromptEntry, data: st.DataObject
) -> None:
    """Nothing is made up for what a manifest does not say."""
    manifest: dict[str, Any] = orjson.loads(entry.to_manifest())
    del manifest[data.draw(st.sampled_from(sorted(set(manifest) - {"storage_key"})))]

    with pytest.raises(UnreadableManifest):
        PromptEntry.from_manifest(orjson.dumps(manifest))


@given(st.binary())
def test_anything_else_is_unreadable(data: bytes) -> None:
    """Bytes that nobody of us wrote are no manifest."""
    with pytest.raises(UnreadableManifest):
        PromptEntry.from_manifest(data)


@given(ENTRIES)
def test_a_manifest_of_another_version_is_unreadable(entry: PromptEntry) -> None:
    """A version that is not known is not guessed at."""
    manifest = {**orjson.loads(entry.to_manifest()), "version": 2}

    with pytest.raises(UnreadableManifest):
        PromptEntry.from_manifest(orjson.dumps(manifest))


@given(ENTRIES)
def test_a_manifest_may_say_more(entry: PromptEntry) -> None:
    """What a newer replica adds to a manifest does not cost a second payment."""
    manifest = {**orjson.loads(entry.to_manifest()), "licence": "CC0"}

    assert PromptEntry.from_manifest(orjson.dumps(manifest)) == entry
