"""The capabilities of the placeholder: all; only the shape changes the picture."""

from __future__ import annotations

from app.generation.capabilities import ALL_SEEDS, OPTIONS, Endpoint

PAINTER = Endpoint(
    source="the placeholder itself",
    references="many",
    mask_field="mask",
    mask_is_alpha=True,
    shape="as_asked",
    max_seed=ALL_SEEDS,
    options={name: name for name in OPTIONS},
)
