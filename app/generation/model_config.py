"""ModelConfig: one alias of the models file, as every part of generation reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The model behind *alias*, with its price, limits and options.

    *model* is the provider's own id. *price* is per picture, in the operator's
    currency; *concurrency* and *queue* count paintings of this replica;
    *deadline_seconds* is for one call. *also* are further names of the alias,
    *accept* are the options that a request may choose itself. After a call with
    an ambiguous end its prompt is not paid for again for
    *ambiguous_hold_seconds*.
    """

    alias: str
    provider: str
    model: str = ""
    base_url: str = ""
    api_key: str | None = field(default=None, repr=False)
    price: float = 0.0
    concurrency: int = 8
    queue: int = 64
    deadline_seconds: float = 120.0
    also: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    ambiguous_hold_seconds: float = 60.0
    fallback_when_ambiguous: bool = False
    result_hosts: tuple[str, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
