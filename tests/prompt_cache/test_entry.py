"""Entries as manifests of the ledger and as records of Redis."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.generation.provenance import BY_A_MODEL, BY_A_PROGRAM, Provenance
from app.image import MEDIA_TYPES
from app.prompt_cache.entry.entry import (
    _MEDIA_TYPES,
    LaterManifest,
    PromptEntry,
    UnreadableManifest,
)
from app.prompt_cache.entry.prompt_key import OPTIONS, Parameters
from app.storage.storage_key import Project
from tests.prompt_cache.strategies import ENTRIES

A_UUID = "0b9cbb3c-57a5-4b0c-8c2f-3c9b8d3f4f10"
GOLDEN_RECORD = (
    "020203cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd0b"
    "9cbb3c57a54b0c8c2f3c9b8d3f4f100001680000000400000003000000019b7ca98f2e3f"
    "a47ae147ae147b5b2261636d652f73686f70222c22612d66616c6c2d6261636b222c2261"
    "2072656420666f78222c2264656661756c74222c6e756c6c2c6e756c6c2c6e756c6c2c30"
    "2c302c5b2230623963626233632d353761352d346230632d386332662d33633962386433"
    "6634663130225d5d"
)


@given(ENTRIES)
def test_a_manifest_says_everything(entry: PromptEntry) -> None:
    """A manifest restores every field of the entry."""
    assert PromptEntry.from_manifest(entry.to_manifest()) == entry


@given(ENTRIES)
def test_a_record_says_everything_but_the_generation(entry: PromptEntry) -> None:
    """A record restores every field but the generation."""
    read = PromptEntry.from_record(entry.prompt_hash, entry.to_record())

    assert read == entry._replace(generation_id="")
    assert read.key.hash == entry.prompt_hash
    assert read.to_record() == entry.to_record()


@given(ENTRIES)
def test_a_record_is_read_by_its_key(entry: PromptEntry) -> None:
    """A record read with its key gives the same entry as without."""
    record = entry.to_record()

    read = PromptEntry.of_key(entry.key, record)

    assert read == PromptEntry.from_record(entry.prompt_hash, record)


@given(ENTRIES)
def test_a_record_of_nothing_but_a_key_is_none(entry: PromptEntry) -> None:
    """An empty, cut or unknown record is None."""
    record = entry.to_record()

    assert PromptEntry.of_key(entry.key, b"") is None
    assert PromptEntry.of_key(entry.key, record[:40]) is None
    assert PromptEntry.of_key(entry.key, b"\x01" + record[1:]) is None


@given(ENTRIES)
def test_a_record_is_small(entry: PromptEntry) -> None:
    """A record is at most 120 bytes longer than its texts."""
    said = entry.parameters
    texts = [said.prompt, said.model, entry.model, str(entry.project)]
    texts.append(entry.provenance.digital_source_type or "")
    options = [getattr(said, name) for name in (*OPTIONS, "mask", "mask_digest")]
    lists = (said.references, said.reference_digests, options)
    text_bytes = len(orjson.dumps(texts)) + len(orjson.dumps(lists))

    assert len(entry.to_record()) < 120 + text_bytes


@given(ENTRIES, st.data())
def test_a_record_that_was_cut_is_none(entry: PromptEntry, data: st.DataObject) -> None:
    """A record cut anywhere is None and raises nothing."""
    record = entry.to_record()
    cut = data.draw(st.integers(0, len(record) - 1))

    assert PromptEntry.from_record(entry.prompt_hash, record[:cut]) is None


@given(ENTRIES, st.data())
def test_a_damaged_record_is_no_error(entry: PromptEntry, data: st.DataObject) -> None:
    """A record with any wrong byte raises nothing."""
    record = bytearray(entry.to_record())
    record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))

    PromptEntry.from_record(entry.prompt_hash, bytes(record))


@given(st.binary())
def test_bytes_of_others_are_no_record(data: bytes) -> None:
    """Foreign bytes are no record."""
    assert PromptEntry.from_record("ab" * 32, data) is None


@given(ENTRIES)
def test_a_record_of_another_version_is_none(entry: PromptEntry) -> None:
    """A record of an unknown version is None."""
    record = b"\x03" + entry.to_record()[1:]

    assert PromptEntry.from_record(entry.prompt_hash, record) is None


def test_the_spelling_of_records_never_changes() -> None:
    """A golden record of an older release is read."""
    record = bytes.fromhex(GOLDEN_RECORD)

    entry = PromptEntry.from_record("ab" * 32, record)

    assert entry == PromptEntry(
        prompt_hash="ab" * 32,
        project=Project("acme", "shop"),
        parameters=Parameters("a red fox", seed=0, references=(A_UUID,)),
        image_id=A_UUID,
        media_type="image/webp",
        size=92_160,
        digest="cd" * 32,
        width=1024,
        height=768,
        model="a-fall-back",
        price=0.04,
        is_placeholder=True,
        created_ms=1_767_323_045_678,
        generation_id="",
    )
    assert entry.to_record() == record


@pytest.mark.parametrize(
    ("provenance", "flags"),
    [
        (Provenance(), 0b000_000_00),
        (Provenance(c2pa=True), 0b000_001_00),
        (Provenance(c2pa_lost=True), 0b000_010_00),
        (Provenance(digital_source_type=BY_A_MODEL, marked=True), 0b001_100_00),
        (Provenance(digital_source_type=BY_A_PROGRAM, marked=True), 0b010_100_00),
        (Provenance(digital_source_type="urn:example:other"), 0b011_000_00),
    ],
)
def test_the_bits_of_a_provenance_never_change(
    provenance: Provenance, flags: int
) -> None:
    """Golden records with each provenance are read."""
    golden = PromptEntry.from_record("ab" * 32, bytes.fromhex(GOLDEN_RECORD))
    assert golden is not None
    record = golden._replace(provenance=provenance).to_record()

    # Below them: painted by the placeholder, and by another model than was asked.
    assert record[2] == flags | 0b11
    assert PromptEntry.from_record("ab" * 32, record) == golden._replace(
        provenance=provenance
    )


def test_every_media_type_has_a_number() -> None:
    """Every accepted media type has a number in records."""
    assert set(_MEDIA_TYPES) == set(MEDIA_TYPES.values())


@given(ENTRIES)
def test_a_manifest_is_for_people(entry: PromptEntry) -> None:
    """A manifest has the field names of the contract."""
    manifest = orjson.loads(entry.to_manifest())

    assert manifest["storage_key"] == str(entry.storage_key)
    assert manifest["sha256"] == entry.digest
    assert manifest["parameters"]["prompt"] == entry.parameters.prompt
    assert manifest["project"] == str(entry.project)


@given(ENTRIES, st.data())
def test_a_damaged_manifest_is_unreadable(
    entry: PromptEntry, data: st.DataObject
) -> None:
    """A manifest cut anywhere raises `UnreadableManifest`."""
    manifest = entry.to_manifest()
    cut = data.draw(st.integers(0, len(manifest) - 1))

    with pytest.raises(UnreadableManifest):
        PromptEntry.from_manifest(manifest[:cut])


@given(ENTRIES, st.data())
def test_a_manifest_that_lacks_something_is_unreadable(
    entry: PromptEntry, data: st.DataObject
) -> None:
    """A manifest without a required field raises `UnreadableManifest`."""
    manifest: dict[str, Any] = orjson.loads(entry.to_manifest())
    # The one is for people only, the other older manifests do not have.
    needed = sorted(set(manifest) - {"storage_key", "provenance"})
    del manifest[data.draw(st.sampled_from(needed))]

    with pytest.raises(UnreadableManifest):
        PromptEntry.from_manifest(orjson.dumps(manifest))


@given(ENTRIES)
def test_what_was_stored_before_marks_is_read(entry: PromptEntry) -> None:
    """A manifest without a provenance is read."""
    manifest: dict[str, Any] = orjson.loads(entry.to_manifest())
    del manifest["provenance"]

    read = PromptEntry.from_manifest(orjson.dumps(manifest))

    assert read == entry._replace(provenance=Provenance())


@given(ENTRIES)
def test_a_newer_replicas_bits_are_not_guessed_at(entry: PromptEntry) -> None:
    """A record with unknown flag bits is None."""
    record = bytearray(entry.to_record())
    record[2] |= 0x80

    assert PromptEntry.from_record(entry.prompt_hash, bytes(record)) is None
    assert PromptEntry.of_key(entry.key, bytes(record)) is None


@pytest.mark.parametrize("damaged", ["yes", {}, {"c2pa": True}])
def test_a_damaged_provenance_is_unreadable(damaged: object) -> None:
    """A manifest with a wrong provenance raises `UnreadableManifest`."""
    entry = PromptEntry.from_record("ab" * 32, bytes.fromhex(GOLDEN_RECORD))
    assert entry is not None
    manifest = {**orjson.loads(entry.to_manifest()), "provenance": damaged}

    with pytest.raises(UnreadableManifest):
        PromptEntry.from_manifest(orjson.dumps(manifest))


@given(st.binary())
def test_anything_else_is_unreadable(data: bytes) -> None:
    """Foreign bytes raise `UnreadableManifest`."""
    with pytest.raises(UnreadableManifest):
        PromptEntry.from_manifest(data)


@given(ENTRIES)
def test_a_manifest_of_another_version_is_not_guessed_at(entry: PromptEntry) -> None:
    """A manifest of an unknown version raises another error than an invalid one."""
    manifest = orjson.loads(entry.to_manifest())
    for version in (2, 0, "x", None):
        with pytest.raises(LaterManifest):
            PromptEntry.from_manifest(orjson.dumps(manifest | {"version": version}))
    del manifest["version"]
    with pytest.raises(UnreadableManifest):
        PromptEntry.from_manifest(orjson.dumps(manifest))


@given(ENTRIES)
def test_a_manifest_may_say_more(entry: PromptEntry) -> None:
    """A manifest with additional fields is read."""
    manifest = {**orjson.loads(entry.to_manifest()), "licence": "CC0"}

    assert PromptEntry.from_manifest(orjson.dumps(manifest)) == entry


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_id": "../../etc/passwd"},
        {"image_id": A_UUID.upper()},
        {"sha256": "none"},
        {"size": -1},
        {"width": "wide"},
        {"project": "Acme/shop"},
    ],
)
@given(entry=ENTRIES)
def test_a_manifest_that_no_record_can_say_is_unreadable(
    entry: PromptEntry, wrong: dict[str, Any]
) -> None:
    """A manifest whose values do not fit into a record is unreadable."""
    manifest = {**orjson.loads(entry.to_manifest()), **wrong}

    with pytest.raises(UnreadableManifest):
        PromptEntry.from_manifest(orjson.dumps(manifest))
