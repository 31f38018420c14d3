"""A request's parameters in vendors' terms. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.generation.capabilities import Endpoint
    from app.generation.provider import PaintRequest

# Spreads variants over all seeds; odd, so that no two variants meet (Knuth,
# The Art of Computer Programming 3, 6.4: the golden ratio of 2**32).
_SEED_STRIDE = 2_654_435_761


def seed_for(request: PaintRequest, endpoint: Endpoint) -> int | None:
    """Return the seed to send, folded into those of *endpoint*; None sends none.

    Variant 0 is the caller's seed, every other variant a seed of its own.
    """
    if request.seed is None or endpoint.max_seed is None:
        return None
    return (request.seed + request.variant * _SEED_STRIDE) % (endpoint.max_seed + 1)
