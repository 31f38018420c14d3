"""The page of models, made from the tables; `make models-page` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.generation.capabilities import OPTIONS
from app.generation.providers.a1111.known_models import SERVER
from app.generation.providers.fal.known_models import KNOWN as FAL
from app.generation.providers.gemini.known_models import KNOWN as GEMINI
from app.generation.providers.openai.known_models import KNOWN as OPENAI
from app.generation.providers.replicate.known_models import KNOWN as REPLICATE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.generation.capabilities import Endpoint

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "models.md"

TABLES: dict[str, Mapping[str, Endpoint]] = {
    "openai": OPENAI,
    "gemini": GEMINI,
    "replicate": REPLICATE,
    "fal": FAL,
    "a1111": {"any checkpoint": SERVER},
}

_HEAD = """# Models

This page lists what each known model takes. A model that is not here takes no
references, no mask and no options unless
[options](configuration.md#what-a-model-can-do) say that it does; the service guesses
nothing from a model's name.

`make models-page` writes this page from the tables in
`app/generation/providers/*/known_models.py`.

- **References**: how many reference pictures, and in which field; or the model that the
  service asks instead if a request has any.
- **Shapes**: the ratios, the only sizes, or the smallest and the largest size. For any
  other shape the service asks for the nearest one, and crops or scales the picture.
- **Seeds**: the largest one. Larger seeds are reduced to the range that ends there.
- **Options**: what `accept` may list, and the model's own name for it.
"""


def render() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *(_section(name, TABLES[name]) for name in TABLES)])


def _section(provider: str, table: Mapping[str, Endpoint]) -> str:
    sources = list(dict.fromkeys(endpoint.source for endpoint in table.values()))
    lines = [
        f"## `{provider}`",
        "",
        "| model | references | mask | shapes | seeds | options | known from |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{model}` | {_references(endpoint)} | {_code(endpoint.mask_field)} "
        f"| {_shapes(endpoint)} | {endpoint.max_seed or 'none'} "
        f"| {_options(endpoint)} | {sources.index(endpoint.source) + 1} |"
        for model, endpoint in table.items()
    ]
    lines += ["", "Known from:", ""]
    lines += [f"{number}. {source}" for number, source in enumerate(sources, start=1)]
    return "\n".join([*lines, ""])


def _references(endpoint: Endpoint) -> str:
    if endpoint.edit_model:
        return f"by `{endpoint.edit_model}`"
    if endpoint.references == "none":
        return "none"
    field = endpoint.reference_field + ("[]" if endpoint.reference_list else "")
    needed = ", at least one" if endpoint.needs_reference else ""
    return f"{endpoint.reference_limit}, `{field}`{needed}"


def _shapes(endpoint: Endpoint) -> str:
    if endpoint.shape == "omit":
        return "the model's own"
    limits = [", ".join(endpoint.ratios or endpoint.sizes)]
    if bounds := endpoint.bounds:
        limits.append(
            f"{bounds.min_width}x{bounds.min_height} to "
            f"{bounds.max_width}x{bounds.max_height} in steps of {bounds.step}"
        )
        if bounds.min_pixels:
            limits.append(f"{bounds.min_pixels} to {bounds.max_pixels} pixels")
    if endpoint.resolutions:
        names = ", ".join(name for name, _ in endpoint.resolutions)
        limits.append(f"`{endpoint.resolution_field}` {names}")
    return "; ".join(filter(None, limits))


def _options(endpoint: Endpoint) -> str:
    names = [
        f"`{name}`"
        if endpoint.options[name] == name
        else f"`{name}` as `{endpoint.options[name]}`"
        for name in OPTIONS
        if name in endpoint.options
    ]
    return ", ".join(names) or "none"


def _code(text: str | None) -> str:
    return f"`{text}`" if text else "none"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
