"""The parameters of live generation: from a query or from JSON, one meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from app.api.prompt_text import (
    LONGEST_PROMPT,
    LONGEST_PROMPT_IN_BODY,
    read_prompt,
    read_text,
)
from app.api.rendition_parameters import RENDITION_PARAMETERS
from app.errors import InvalidParameter
from app.http.error_pictures import AS_JSON, AS_PICTURE, ON_ERROR
from app.http.query import bounded, whole_number
from app.http.unknown_names import unknown
from app.prompt_cache.entry.prompt_key import DEFAULT_MODEL, OPTIONS, Parameters
from app.storage.storage_key import is_image_id

MIN_SIDE, MAX_SIDE, MAX_REQUEST_PIXELS = 64, 4096, 16_000_000
MAX_SEED = 2**32 - 1
MAX_VARIANT = 15
MAX_REFERENCES = 16
LONGEST_OPTION, LONGEST_NEGATIVE_PROMPT = 64, 4000

# Values that some clients send where nothing was chosen.
_UNSET = frozenset(
    {*((name, "auto") for name in OPTIONS), ("quality", "standard"), ("style", "vivid")}
)

# fmt: off
ASPECT_RATIOS = frozenset((
    "1:1", "1:2", "2:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4",
    "9:16", "16:9", "9:21", "21:9", "1:4", "4:1", "1:8", "8:1",
))
# fmt: on

# fmt: off
QUERY_PARAMETERS = frozenset((
    "prompt", "model", "aspect_ratio", "width", "height", "seed", "variant",
    *OPTIONS, ON_ERROR, *RENDITION_PARAMETERS,
))
# fmt: on
JSON_PARAMETERS = QUERY_PARAMETERS | {"references"}


class KnownModels(Protocol):
    """The models that a request may name."""

    def alias_of(self, name: str) -> str | None:
        """Return the alias that *name* means, None where it means none."""
        ...

    def accepts(self, alias: str, option: str) -> bool:
        """Return whether a request to *alias* may choose *option* itself."""
        ...


def from_query(given: Mapping[str, str], models: KnownModels) -> Parameters:
    """Read the parameters of a query; raises `InvalidParameter`."""

    def integer(name: str, minimum: int, maximum: int) -> int | None:
        return whole_number(given, name, minimum=minimum, maximum=maximum)

    return read_parameters(given, models, integer)


def from_json(
    given: Mapping[str, Any],
    models: KnownModels,
    *,
    longest_prompt: int = LONGEST_PROMPT_IN_BODY,
) -> Parameters:
    """Read the parameters of a JSON object; raises `InvalidParameter`.

    An integer is an integer here: not a text, not 1.0, not true; null is no
    way to leave a parameter out.
    """
    for name, value in given.items():
        if name not in JSON_PARAMETERS:
            raise unknown(name, JSON_PARAMETERS)
        if value is None or value == "":
            raise InvalidParameter(name, f"{name} is empty.")

    def integer(name: str, minimum: int, maximum: int) -> int | None:
        value = given.get(name)
        if value is None:
            return None
        if type(value) is not int:
            raise InvalidParameter(name, f"{name} must be a whole number.")
        return bounded(value, name, minimum=minimum, maximum=maximum)

    references = _references(given.get("references"))
    return read_parameters(
        given, models, integer, references, longest_prompt=longest_prompt
    )


def read_parameters(
    given: Mapping[str, Any],
    models: KnownModels,
    integer: Callable[[str, int, int], int | None],
    references: tuple[str, ...] = (),
    *,
    longest_prompt: int = LONGEST_PROMPT,
) -> Parameters:
    """Read the parameters that any form of request has; raises `InvalidParameter`.

    *integer* reads the one of a name that lies between two bounds.
    """
    width = integer("width", MIN_SIDE, MAX_SIDE)
    height = integer("height", MIN_SIDE, MAX_SIDE)
    aspect_ratio = _text(given, "aspect_ratio")
    if aspect_ratio is not None:
        if aspect_ratio not in ASPECT_RATIOS:
            known = ", ".join(sorted(ASPECT_RATIOS))
            raise InvalidParameter(
                "aspect_ratio", f"aspect_ratio must be one of {known}."
            )
        if width is not None or height is not None:
            raise InvalidParameter(
                "aspect_ratio", "aspect_ratio goes without width and height."
            )
    _check_size(width, height)
    # No part of the prompt: it says in which form a failure is answered.
    if _text(given, ON_ERROR) not in {None, AS_JSON, AS_PICTURE}:
        raise InvalidParameter(ON_ERROR, f"{ON_ERROR} must be json or image.")
    alias = _model(_text(given, "model"), models)
    return Parameters(
        prompt=read_prompt(_text(given, "prompt"), longest_prompt),
        model=alias,
        aspect_ratio=aspect_ratio,
        width=width,
        height=height,
        seed=integer("seed", 0, MAX_SEED),
        variant=integer("variant", 0, MAX_VARIANT) or 0,
        references=references,
    )._replace(**_options(given, alias, models))


def _options(
    given: Mapping[str, Any], alias: str, models: KnownModels
) -> dict[str, Any]:
    """Return the options that are chosen, where *alias* accepts them."""
    chosen = {}
    for name in OPTIONS:
        text = _text(given, name)
        if text is None or (name, text) in _UNSET:
            continue
        if not models.accepts(alias, name):
            raise InvalidParameter(name, f"The model does not accept {name}.")
        is_prompt = name == "negative_prompt"
        longest = LONGEST_NEGATIVE_PROMPT if is_prompt else LONGEST_OPTION
        chosen[name] = read_text(name, text, longest)
    return chosen


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidParameter(name, f"{name} must be a text.")
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can spell half a surrogate pair, which no UTF-8 can.
        raise InvalidParameter(name, f"{name} is not Unicode text.") from None
    return value


def _model(name: str | None, models: KnownModels) -> str:
    alias = models.alias_of(DEFAULT_MODEL if name is None else name)
    if alias is not None:
        return alias
    if name is None:
        raise InvalidParameter("model", "model is missing: there is no default.")
    raise InvalidParameter("model", "There is no such model.")


def _check_size(width: int | None, height: int | None) -> None:
    if width is None and height is None:
        return
    if width is None or height is None:
        missing = "width" if width is None else "height"
        raise InvalidParameter(missing, "width and height go together.")
    if width * height > MAX_REQUEST_PIXELS:
        raise InvalidParameter(
            "width", f"width x height must be at most {MAX_REQUEST_PIXELS} pixels."
        )


def _references(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not 0 < len(value) <= MAX_REFERENCES:
        raise InvalidParameter(
            "references", f"references must be a list of 1 to {MAX_REFERENCES} ids."
        )
    if not all(isinstance(item, str) and is_image_id(item) for item in value):
        raise InvalidParameter(
            "references", "references must be ids of transient images."
        )
    return tuple(value)
