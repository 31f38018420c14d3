"""Capabilities by the vendor's table, and by the options that outrank it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.generation.capabilities import Capabilities, SizeBounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.generation.capabilities import Endpoint, References
    from app.generation.providers.options import CapabilityOptions


def capabilities_of(
    model: str,
    options: CapabilityOptions,
    *,
    known: Mapping[str, Endpoint],
    unknown: Endpoint,
) -> Capabilities:
    """Return the capabilities of *model*: its row of *known*, changed by *options*."""
    text = known.get(model, unknown)
    edit_model = options.edit_model or text.edit_model
    if edit_model is None:
        return Capabilities(model, _by_options(text, options))
    edit = known.get(edit_model, text if model in known else unknown)
    return Capabilities(
        model,
        replace(_shaped(text, options), edit_model=edit_model),
        _by_options(edit, options),
    )


def _by_options(endpoint: Endpoint, options: CapabilityOptions) -> Endpoint:
    """Return *endpoint* as *options* describe it."""
    changes: dict[str, Any] = {}
    references = options.references or _implied(options)
    if references is not None:
        changes["references"] = references
        changes["reference_list"] = references == "many"
    if options.reference_field is not None:
        changes["reference_field"] = options.reference_field
        changes["reference_form"] = "uris"
    if options.reference_list is not None:
        changes["reference_list"] = options.reference_list
    if options.mask_field is not None:
        changes["mask_field"] = options.mask_field
    return _shaped(_sourced(endpoint, changes), options)


def _shaped(endpoint: Endpoint, options: CapabilityOptions) -> Endpoint:
    changes: dict[str, Any] = {}
    if options.shape is not None:
        changes |= {"shape": options.shape, "custom": None, "sizes": ()}
    if options.ratios is not None:
        changes["ratios"] = tuple(options.ratios)
    if options.size_range is not None:
        min_width, min_height, width, height = options.size_range
        changes["bounds"] = SizeBounds(
            min_width=min_width,
            min_height=min_height,
            max_width=width,
            max_height=height,
        )
    if options.max_seed is not None:
        changes["max_seed"] = options.max_seed
    return _sourced(endpoint, changes)


def _implied(options: CapabilityOptions) -> References | None:
    """Return how many references the other options speak of."""
    if options.reference_field is None and options.reference_list is None:
        return None
    return "many" if options.reference_list else "one"


def _sourced(endpoint: Endpoint, changes: dict[str, Any]) -> Endpoint:
    if not changes:
        return endpoint
    source = endpoint.source.removesuffix(_AND_OPTIONS) + _AND_OPTIONS
    return replace(endpoint, source=source, **changes)


_AND_OPTIONS = ", and the models file"
