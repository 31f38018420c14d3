"""The identity of a prompt: its key and hash. Pure: does no I/O.

The hash of a prompt is SHA-256 over canonical JSON (sorted names, no spaces,
UTF-8: the subset of RFC 8785 that text, integers and null need) of a version,
the project and every parameter with its default applied. Nothing is
concatenated, truncated or folded, so different values never meet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from app.storage.storage_key import Project

VERSION = 1
DEFAULT_MODEL = "default"

_PROMPT_HASH = re.compile(r"[0-9a-f]{64}")


class Parameters(NamedTuple):
    """The parameters of a picture; None where the caller gave none.

    *reference_digests*, SHA-256 in hex, are those of the *references*, whose ids
    name where to read them and not what they show; *mask_digest* is that of the
    *mask*.
    """

    prompt: str
    model: str = DEFAULT_MODEL
    aspect_ratio: str | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    variant: int = 0
    references: tuple[str, ...] = ()
    reference_digests: tuple[str, ...] = ()
    quality: str | None = None
    background: str | None = None
    moderation: str | None = None
    style: str | None = None
    negative_prompt: str | None = None
    mask: str | None = None
    mask_digest: str | None = None

    @property
    def pictures(self) -> tuple[str, ...]:
        """The ids of all pictures that it refers to, the mask last."""
        return self.references if self.mask is None else (*self.references, self.mask)

    def as_json(self) -> dict[str, Any]:
        """Return every parameter by its name, options and mask only where set."""
        return {
            name: value
            for name, value in self._asdict().items()
            if value is not None or name not in _WHERE_SET
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Parameters:
        """Read the form of `as_json`."""
        lists = ("references", "reference_digests")
        return cls(
            **{**fields, **{name: tuple(fields.get(name, ())) for name in lists}}
        )

    def as_list(self) -> list[Any]:
        """Return the values in order, without the defaults at the end."""
        values = list(self)
        while len(values) > 1 and values[-1] == _DEFAULTS[len(values) - 1]:
            values.pop()
        return values

    @classmethod
    def from_list(cls, values: list[Any]) -> Parameters:
        """Read the form of `as_list`, from JSON, which has no tuples."""
        read = cls(*values)
        if len(values) > _FIRST_LIST:
            return read._replace(
                references=tuple(read.references),
                reference_digests=tuple(read.reference_digests),
            )
        return read


OPTIONS = ("quality", "background", "moderation", "style", "negative_prompt")
"""Options that a request may choose where the model's `accept` lists them."""

_DEFAULTS = Parameters("")
_WHERE_SET = frozenset({*OPTIONS, "mask", "mask_digest"})
_FIRST_LIST = Parameters._fields.index("references")
_FIRST_OPTION = Parameters._fields.index("quality")
_NO_OPTIONS = _DEFAULTS[_FIRST_OPTION:]


@dataclass(frozen=True)
class PromptKey:
    """A prompt of a project: the key of its cache entry, its lease and its manifest."""

    project: Project
    parameters: Parameters

    @cached_property
    def hash(self) -> str:
        """64 hex digits; equal exactly where project and parameters are."""
        asked = self.parameters
        # The names in order: to have them sorted takes as long as the rest.
        canonical: dict[str, Any] = {
            "aspect_ratio": asked.aspect_ratio,
            "height": asked.height,
            "model": asked.model,
            "project": str(self.project),
            "prompt": asked.prompt,
            "references": asked.reference_digests,
            "seed": asked.seed,
            "variant": asked.variant,
            "version": VERSION,
            "width": asked.width,
        }
        if asked[_FIRST_OPTION:] != _NO_OPTIONS:
            canonical = dict(sorted({**canonical, **_options_of(asked)}.items()))
        return sha256(orjson.dumps(canonical)).hexdigest()


def _options_of(asked: Parameters) -> dict[str, str]:
    """Return the options that are set: the hash has no others, so older ones stay."""
    options = {name: getattr(asked, name) for name in OPTIONS}
    options["mask"] = asked.mask_digest
    return {name: value for name, value in options.items() if value is not None}


def is_prompt_hash(text: str) -> bool:
    """Return whether *text* has the form of a prompt hash."""
    return _PROMPT_HASH.fullmatch(text) is not None
