"""Vendors: the names that a models file may use, and what each one needs.

One line here and one `case` in `models.py` make a new adapter known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.generation.providers.openai import images as openai_images
from app.generation.providers.placeholder import placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Vendor:
    """*key_variable* holds the key unless the file names another, "" for none.

    *check_options* returns what is wrong with a table of options, one sentence
    each that starts with the option's name.
    """

    key_variable: str
    base_url: str
    check_options: Callable[[Mapping[str, object]], list[str]]
    needs_model: bool = True


# None stands for an adapter that this version does not have.
VENDORS: Mapping[str, Vendor | None] = {
    "placeholder": Vendor("", "", placeholder.check_options, needs_model=False),
    "openai": Vendor(
        "OPENAI_API_KEY", "https://api.openai.com/v1", openai_images.check_options
    ),
    "gemini": None,
    "replicate": None,
    "fal": None,
    "a1111": None,
}
