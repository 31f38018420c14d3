"""Options of a model: what every vendor's table of them has in common."""

from __future__ import annotations

import math
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, JsonValue


def _finite(value: JsonValue) -> JsonValue:
    """Tell `inf` and `nan`, which TOML has, from what a request can hold."""
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


PassedOn = Annotated[JsonValue, AfterValidator(_finite)]
# A field that no table may have: the request itself says it.
Taken = Annotated[Any, BeforeValidator(_taken)]


class VendorOptions(BaseModel):
    """The adapter's own options, checked, and all others, which are passed on."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    __pydantic_extra__: dict[str, PassedOn]

    result_hosts: Annotated[Any, BeforeValidator(_moved)] = None

    @property
    def passed_on(self) -> dict[str, Any]:
        """What goes into the request as the vendor documents it."""
        return dict(self.__pydantic_extra__ or {})
