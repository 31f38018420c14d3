"""Vendors: the names that a models file may use, and what each one needs.

One line here and one `case` in `generation/assemble.py` make a new adapter known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.generation.providers.a1111.options import A1111Options
from app.generation.providers.fal.known_models import KNOWN as FAL
from app.generation.providers.gemini.known_models import KNOWN as GEMINI
from app.generation.providers.gemini.options import GeminiOptions
from app.generation.providers.inputs import InputOptions
from app.generation.providers.openai.known_models import KNOWN as OPENAI
from app.generation.providers.openai.options import OpenAIOptions
from app.generation.providers.placeholder.options import PlaceholderOptions
from app.generation.providers.replicate.known_models import KNOWN as REPLICATE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from app.generation.capabilities import Endpoint


@dataclass(frozen=True, slots=True)
class Vendor:
    """*key_variable* holds the key unless the file names another, "" for none.

    *options* is the form of the table of options, *known* what its models can
    do. *key_is_password* says that the key is `user:password`.
    *deadline_seconds* bounds a call unless the file says otherwise: at some
    vendors large pictures take minutes.
    """

    key_variable: str
    base_url: str
    options: type[BaseModel]
    known: Mapping[str, Endpoint] = field(default_factory=dict)
    needs_model: bool = True
    key_is_password: bool = False
    deadline_seconds: float = 120.0


VENDORS: Mapping[str, Vendor] = {
    "placeholder": Vendor("", "", PlaceholderOptions, needs_model=False),
    "openai": Vendor(
        "OPENAI_API_KEY",
        "https://api.openai.com/v1",
        OpenAIOptions,
        OPENAI,
        deadline_seconds=300.0,
    ),
    "gemini": Vendor(
        "GEMINI_API_KEY",
        "https://generativelanguage.googleapis.com/v1beta",
        GeminiOptions,
        GEMINI,
        deadline_seconds=180.0,
    ),
    "replicate": Vendor(
        "REPLICATE_API_TOKEN", "https://api.replicate.com/v1", InputOptions, REPLICATE
    ),
    "fal": Vendor("FAL_KEY", "https://queue.fal.run", InputOptions, FAL),
    "a1111": Vendor(
        "",
        "http://127.0.0.1:7860",
        A1111Options,
        needs_model=False,
        key_is_password=True,
    ),
}
