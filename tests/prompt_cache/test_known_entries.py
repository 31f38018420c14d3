"""Parsed entries are reused only while Redis returns the same record."""

from __future__ import annotations

from hypothesis import given

from app.prompt_cache.entry import known_entries
from app.prompt_cache.entry.entry import PromptEntry
from app.prompt_cache.entry.known_entries import KnownEntries
from tests.prompt_cache.strategies import ENTRIES


@given(entry=ENTRIES, other=ENTRIES)
def test_a_record_that_changed_is_read_again(
    entry: PromptEntry, other: PromptEntry
) -> None:
    """A changed record is parsed again."""
    known, key = KnownEntries(), entry.key
    refreshed = entry._replace(image_id=other.image_id, digest=other.digest)

    for said in (entry, entry, refreshed, entry):
        record = said.to_record()
        assert known.read(key, record) == PromptEntry.of_key(key, record)


@given(entry=ENTRIES)
def test_a_damaged_record_is_nothing(entry: PromptEntry) -> None:
    """A damaged record is None each time and replaces no cached entry."""
    known, record = KnownEntries(), entry.to_record()

    assert known.read(entry.key, record[:40]) is None
    assert known.read(entry.key, record) is not None
    assert known.read(entry.key, record[:40]) is None


@given(entry=ENTRIES)
def test_cached_entries_are_bounded(entry: PromptEntry) -> None:
    """Cached entries are all dropped at the bound."""
    known, record = KnownEntries(), entry.to_record()
    known._by_hash = {str(n): (b"", entry) for n in range(known_entries.KEPT)}

    assert known.read(entry.key, record) is not None
    assert len(known._by_hash) == 1
