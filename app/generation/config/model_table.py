"""ModelTable: the keys of one table of the models file, with their bounds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from app.generation.config.vendors import VENDORS, Vendor
from app.generation.transport.result_urls import is_result_host

if TYPE_CHECKING:
    from pydantic import ValidationInfo

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Names that other services have for their models, a vendor's in front included.
_FURTHER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
# ASCII without blanks and controls: what an address and a key are made of.
_GRAPHIC = re.compile(r"[!-~]+")


Option = Literal["quality", "background", "moderation", "style", "negative_prompt"]


def _result_host(text: str) -> str:
    if not is_result_host(text):
        raise ValueError(
            'must be a host name in lower case ("*." in front allows every name '
            'below) or an origin ("http://host:port")'
        )
    return text


def _further_name(text: str) -> str:
    if not _FURTHER_NAME.fullmatch(text):
        raise ValueError(
            "must have 1 to 128 letters, digits and . _ : / @ + -, and start with a "
            "letter or a digit"
        )
    return text


class ModelTable(BaseModel):
    """A table as it stands in the file; validate it with the environment as context.

    *base_url*, *api_key_env* and *deadline_seconds* default to the vendor's own.
    """

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
    )

    # Validated first, because the others ask which vendor it is.
    provider: str
    model: Annotated[str, Field(max_length=200)] = ""
    base_url: str | None = None
    api_key_env: str | None = None
    price: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 8
    queue: Annotated[int, Field(ge=0, le=100_000)] = 64
    deadline_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    also: list[Annotated[str, AfterValidator(_further_name)]] = []
    accept: list[Option] = []
    fallbacks: list[str] = []
    ambiguous_hold_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    fallback_when_ambiguous: bool = False
    result_hosts: list[Annotated[str, AfterValidator(_result_host)]] = []
    options: dict[str, object] = {}

    @field_validator("provider")
    @classmethod
    def _provider_is_built(cls, provider: str) -> str:
        if provider not in VENDORS:
            raise ValueError(f"must be one of {', '.join(VENDORS)}")
        return provider

    @field_validator("model")
    @classmethod
    def _vendor_knows_the_model(cls, model: str, info: ValidationInfo) -> str:
        vendor = _vendor(info)
        if vendor and vendor.needs_model and not model.strip():
            raise ValueError("is missing or empty; it is the provider's own id")
        return model.strip()

    @field_validator("base_url")
    @classmethod
    def _base_url_is_absolute(cls, url: str | None, info: ValidationInfo) -> str:
        vendor = _vendor(info)
        if url is None:
            return vendor.base_url if vendor else ""
        parts = urlsplit(url)
        # Reading the port raises ValueError where it is none.
        is_address = parts.hostname and parts.port != 0 and _GRAPHIC.fullmatch(url)
        if parts.scheme not in {"http", "https"} or not is_address:
            raise ValueError("must be an http:// or https:// address")
        if "?" in url or "#" in url or "@" in parts.netloc:
            raise ValueError("must have no query, fragment or user")
        return url.rstrip("/")

    @field_validator("deadline_seconds")
    @classmethod
    def _deadline_is_the_vendors(
        cls, seconds: float | None, info: ValidationInfo
    ) -> float | None:
        vendor = _vendor(info)
        return vendor.deadline_seconds if vendor and seconds is None else seconds

    @field_validator("api_key_env")
    @classmethod
    def _variable_holds_a_key(cls, variable: str | None, info: ValidationInfo) -> str:
        vendor = _vendor(info)
        if variable is None:
            variable = vendor.key_variable if vendor else ""
        # Neither sentence repeats what may be a key that was pasted here.
        if variable and not _VARIABLE.fullmatch(variable):
            raise ValueError("must be the name of an environment variable, or empty")
        environ = info.context or {}
        shown = variable if variable.isupper() else "that it names"
        if variable and not environ.get(variable):
            raise ValueError(
                f"the environment variable {shown} is not set; "
                'api_key_env = "" is for a server that wants no key'
            )
        if (
            variable
            and vendor
            and vendor.key_is_password
            and ":" not in environ[variable]
        ):
            raise ValueError(
                f"the environment variable {shown} must hold user:password"
            )
        if variable and not _GRAPHIC.fullmatch(environ[variable]):
            raise ValueError(
                f"the environment variable {shown} has blanks, line ends or "
                "characters that no key has"
            )
        return variable


def _vendor(info: ValidationInfo) -> Vendor | None:
    """Return the table's vendor, None where that key is wrong itself."""
    return VENDORS.get(info.data.get("provider", ""))
