"""The hot tier: cached pictures, bounded by bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.prompt_cache.painting.hot_tier import LARGEST_SHARE, HotTier


def test_a_kept_picture_is_cached() -> None:
    """A picture is cached until it is dropped."""
    tier = HotTier(1000)
    tier.keep("lighthouse", b"storm")

    assert tier.get("lighthouse") == b"storm"
    assert tier.get("fox") is None
    tier.forget("lighthouse")
    tier.forget("lighthouse")
    assert tier.get("lighthouse") is None


def test_a_tier_of_no_bytes_keeps_nothing() -> None:
    """With HOT_TIER_BYTES=0 nothing is cached."""
    tier = HotTier(0)
    tier.keep("lighthouse", b"storm")

    assert not tier.accepts(1)
    assert tier.get("lighthouse") is None


def test_a_large_picture_does_not_push_all_others_out() -> None:
    """A picture above its share of the tier is not cached."""
    tier = HotTier(80)
    tier.keep("small", b"x" * (80 // LARGEST_SHARE))
    tier.keep("large", b"x" * (80 // LARGEST_SHARE + 1))

    assert tier.get("small") is not None
    assert tier.get("large") is None


def test_the_picture_that_was_not_asked_for_goes_first() -> None:
    """The least recently used picture is dropped first."""
    tier = HotTier(80)
    for number in range(8):
        tier.keep(f"fox {number}", b"x" * 10)
    tier.get("fox 0")
    tier.keep("lighthouse", b"x" * 10)

    assert tier.get("fox 0") is not None
    assert tier.get("fox 1") is None


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(0, 40), st.booleans()),
        max_size=60,
    )
)
def test_the_tier_never_holds_more_than_its_bytes(
    steps: list[tuple[str, int, bool]],
) -> None:
    """The tier never exceeds its bytes, and reports how many it holds."""
    reported = [0]
    tier = HotTier(200, on_change=reported.append)
    for image_id, size, is_kept in steps:
        if is_kept:
            tier.keep(image_id, b"x" * size)
        else:
            tier.forget(image_id)

        held = sum(len(tier.get(key) or b"") for key in "abcdef")
        assert reported[-1] == held <= 200
