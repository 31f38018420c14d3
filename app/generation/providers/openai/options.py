"""Options of an OpenAI-dialect model: the adapter's own and those passed on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from app.generation.providers.openai.sizes import POLICIES
from app.generation.transport.result_urls import is_host_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Said by the request itself, or would change the form of the answer.
_RESERVED = frozenset(
    {
        "model",
        "prompt",
        "n",
        "image",
        "image[]",
        "images",
        "mask",
        "stream",
        "partial_images",
    }
)
# They have an option of the adapter's own in their place.
_REPLACED = {"response_format": "send_response_format", "seed": "send_seed"}

_OWN: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "edits": (lambda value: isinstance(value, bool), "true or false"),
    "extra_body": (lambda value: isinstance(value, dict), "a table"),
    "image_field": (
        lambda value: value in ("image[]", "image"),
        '"image[]" or "image"',
    ),
    "result_hosts": (
        lambda value: isinstance(value, list) and all(map(is_host_pattern, value)),
        'a list of host names in lower case ("*." in front allows every name below)',
    ),
    "send_response_format": (lambda value: value == "b64_json", '"b64_json" or absent'),
    "send_seed": (lambda value: isinstance(value, bool), "true or false"),
    "size_policy": (
        lambda value: value in POLICIES,
        " or ".join(f'"{policy}"' for policy in POLICIES),
    ),
}


@dataclass(frozen=True, slots=True)
class OpenAIOptions:
    """How one server speaks the dialect.

    *passed_on* and *extra_body* go into the body as they are; the latter is
    for names that the adapter would take for its own, and has the last word.
    """

    edits: bool = True
    extra_body: Mapping[str, object] = field(default_factory=dict)
    image_field: str = "image[]"
    result_hosts: tuple[str, ...] = ()
    send_response_format: str | None = None
    send_seed: bool = False
    size_policy: str = "snap"
    passed_on: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def parse(cls, options: Mapping[str, object]) -> Self:
        """Read checked *options*; raises `ValueError` with their problems."""
        if problems := check_options(options):
            raise ValueError("\n".join(problems))
        own = {name: value for name, value in options.items() if name in _OWN}
        passed_on = {name: options[name] for name in options if name not in _OWN}
        hosts = own.pop("result_hosts", ())
        return cls(**own, result_hosts=tuple(hosts), passed_on=passed_on)  # type: ignore[arg-type]


def check_options(options: Mapping[str, object]) -> list[str]:
    """Return the problems of *options*, one sentence each, naming the key."""
    problems = []
    for name, value in options.items():
        if name in _OWN:
            is_valid, form = _OWN[name]
            if not is_valid(value):
                problems.append(f"{name}: must be {form}")
        elif name in _RESERVED:
            problems.append(f"{name}: is set by the request itself")
        elif name in _REPLACED:
            problems.append(f"{name}: use {_REPLACED[name]}")
        elif not _is_json(value):
            problems.append(f"{name}: has no form in JSON")
    extra_body = options.get("extra_body")
    for name, value in extra_body.items() if isinstance(extra_body, dict) else ():
        if name in _RESERVED:
            problems.append(f"extra_body.{name}: is set by the request itself")
        elif not _is_json(value):
            problems.append(f"extra_body.{name}: has no form in JSON")
    return problems


def _is_json(value: object) -> bool:
    """Tell a date or `inf`, which TOML has, from what a request can hold."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
