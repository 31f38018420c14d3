"""Options of a model: what every vendor's table of them has in common."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, NoReturn, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

from app.generation.capabilities import References, Shape  # noqa: TC001 - pydantic evaluates them

_RATIO = re.compile(r"[1-9][0-9]{0,3}(\.[0-9]{1,2})?:[1-9][0-9]{0,3}(\.[0-9]{1,2})?")
_RANGE_NUMBERS = 4
_MAX_EDGE = 16_384


def _finite(value: JsonValue) -> JsonValue:
    """Refuse `inf` and `nan`, which TOML has and a request can't hold."""
    match value:
        case float() if not math.isfinite(value):
            raise ValueError("has no form in JSON")
        case list():
            for item in value:
                _finite(item)
        case dict():
            for item in value.values():
                _finite(item)
    return value


def _taken(_value: object) -> NoReturn:
    raise ValueError("is set by the request itself")


def _moved(_value: object) -> NoReturn:
    raise ValueError("stands in the model's own table, beside options")


def _not_here(_value: object) -> NoReturn:
    raise ValueError("is no option of this provider")


def _ratio(text: str) -> str:
    if not _RATIO.fullmatch(text):
        raise ValueError('must be a ratio like "16:9"')
    return text


def _size_range(numbers: list[int]) -> list[int]:
    is_range = (
        len(numbers) == _RANGE_NUMBERS
        and 1 <= numbers[0] <= numbers[2] <= _MAX_EDGE
        and 1 <= numbers[1] <= numbers[3] <= _MAX_EDGE
    )
    if not is_range:
        raise ValueError(
            "must be the least width, the least height, the most width and the "
            f"most height, from 1 to {_MAX_EDGE}"
        )
    return numbers


PassedOn = Annotated[JsonValue, AfterValidator(_finite)]
# A field that no table may have: the request itself says it.
Taken = Annotated[Any, BeforeValidator(_taken)]
# A capability that the vendor's interface leaves no choice about.
NotHere = Annotated[Any, BeforeValidator(_not_here)]


class VendorOptions(BaseModel):
    """The adapter's own options, checked, and all others, which are passed on."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    __pydantic_extra__: dict[str, PassedOn]

    result_hosts: Annotated[Any, BeforeValidator(_moved)] = None

    @property
    def passed_on(self) -> dict[str, Any]:
        """Return the options that go into the request as the vendor documents them."""
        return dict(self.__pydantic_extra__ or {})


class CapabilityOptions(VendorOptions):
    """The operator's options of a model; None leaves the value of the table.

    *references* is how many reference pictures it takes, *reference_field* and
    *reference_list* where they go, *edit_model* the vendor's id where there
    are any, *mask_field* where a mask goes. *ratios* and *size_range* are what
    it paints, *shape* how it is asked for that, *max_seed* its largest seed.
    """

    references: References | None = None
    reference_field: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    reference_list: bool | None = None
    edit_model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    mask_field: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    ratios: (
        Annotated[
            list[Annotated[str, AfterValidator(_ratio)]],
            Field(min_length=1, max_length=64),
        ]
        | None
    ) = None
    size_range: Annotated[list[int], AfterValidator(_size_range)] | None = None
    max_seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    shape: Shape | None = None

    @model_validator(mode="after")
    def _references_are_taken(self) -> Self:
        if self.references != "none":
            return self
        for name in ("reference_field", "edit_model", "mask_field"):
            if getattr(self, name) is not None:
                raise ValueError(f'{name} is of no use with references = "none"')
        return self
