"""Settings from the environment: frozen, checked all at once, secrets hidden.

`environment` reads them, once. Nothing but the composition root uses them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.environment import DEFAULT_THRESHOLD_BYTES, environment

MIB = 1024 * 1024

# Those that next/image asks for.
DEFAULT_WIDTHS = "16,32,48,64,96,128,256,384,640,750,828,1080,1200,1920,2048,3840"
MAX_WIDTHS, MAX_WIDTH = 64, 8192

_DIGITS = re.compile(r"[0-9]+")
_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?|\.[0-9]+")


def _whole_number(value: object) -> object:
    """Refuse what Python would read as a number: `1.0`, `1_000`, other digits."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise ValueError("must be a whole number in the digits 0 to 9")
    return value


def _decimal(value: object) -> object:
    """Refuse what Python would read as a number: `1e3`, `1_0`, `inf`."""
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise ValueError("must be a decimal like 1.5 in the digits 0 to 9")
    return value


def _decimal_or_auto(value: object) -> object:
    """Refuse like `_decimal`, but for the word `auto`."""
    if value == "auto" or not isinstance(value, str):
        return value
    if not _DECIMAL.fullmatch(value):
        raise ValueError("must be auto, or a decimal like 1.5 in the digits 0 to 9")
    return float(value)


WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
FiniteFloat = Annotated[float, BeforeValidator(_decimal), Field(allow_inf_nan=False)]
GraceSeconds = Annotated[
    Literal["auto"] | Annotated[float, Field(ge=0, le=86_410, allow_inf_nan=False)],
    BeforeValidator(_decimal_or_auto),
]
Bytes = Annotated[WholeNumber, Field(ge=0)]
Seconds = Annotated[FiniteFloat, Field(gt=0, le=86_400)]

_MIN_KEY_LENGTH = 32
_MIN_DIFFERENT = 8
_MASTER_KEY_BYTES = 32

# The secret of the published test vectors.
_SHIPPED_EXAMPLES = frozenset({"c2VjcmV0LWZvci10aGUtdGVzdC12ZWN0b3ItMzJieXRlcyE"})


class InvalidSettings(ValueError):
    """Every problem of the configuration, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(BaseSettings):
    """The settings of an operator: the table of `docs/reference/configuration.md`."""

    model_config = SettingsConfigDict(
        frozen=True,
        hide_input_in_errors=True,
    )

    host: str = "0.0.0.0"  # noqa: S104 - a container's service; `dev` binds to loopback
    port: Annotated[WholeNumber, Field(ge=0, le=65_535)] = 8080
    redis_url: SecretStr | None = None
    s3_bucket: (
        Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] | None
    ) = None
    public_base_url: str | None = None
    auth: Literal["required", "off"] = "required"
    admin_api_key: SecretStr | None = None
    providers_file: Path | None = None
    mark_ai_generated: Literal["auto", "off"] = "auto"
    keep_metadata: Literal["on", "off"] = "off"
    signing_master_key: SecretStr | None = None
    rate_limit_per_minute: Annotated[WholeNumber, Field(ge=0, le=1_000_000)] = 0
    budget_per_day: Annotated[FiniteFloat, Field(ge=0, le=1e9)] = 0
    generation: Literal["on", "off"] = "on"
    scope_new_per_address_per_hour: Annotated[
        WholeNumber, Field(ge=0, le=1_000_000)
    ] = 10
    trusted_proxies: str | None = None
    allowed_hosts: str | None = None
    cors_allowed_origins: str = "*"
    ledger_fence: Literal["store", "lease"] = "store"
    keyed_cache_control: Literal["public", "private"] = "public"
    max_image_bytes: Annotated[WholeNumber, Field(ge=1)] = 16 * MIB
    image_url_threshold_bytes: Bytes = DEFAULT_THRESHOLD_BYTES
    transient_ttl_seconds: Annotated[FiniteFloat, Field(ge=0, le=31_536_000)] = 0
    transient_quota_bytes: Bytes = 256 * MIB
    transient_total_bytes: Bytes = 0
    hot_tier_bytes: Bytes = 128 * MIB
    generation_timeout_seconds: Seconds = 600
    wait_timeout_seconds: Seconds = 60
    lease_seconds: Annotated[FiniteFloat, Field(ge=1, le=3600)] = 20
    shutdown_grace_seconds: GraceSeconds = "auto"
    rendition_widths: str = DEFAULT_WIDTHS
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Literal["json", "text"] = "json"
    tracing: Literal["on", "off"] = "off"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic passes it
        init_settings: PydanticBaseSettingsSource,
        *sources: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic passes them
        **named: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic passes them
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load_settings` gives, and read nothing."""
        return (init_settings,)

    @field_validator("public_base_url")
    @classmethod
    def _base_url_is_absolute(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an http:// or https:// address")
        if parts.query or parts.fragment or parts.username:
            raise ValueError("must have no query, fragment or user")
        return url.rstrip("/")

    @field_validator("admin_api_key")
    @classmethod
    def _admin_key_is_strong(cls, key: SecretStr | None) -> SecretStr | None:
        if key is None:
            return None
        if len(key.get_secret_value()) < _MIN_KEY_LENGTH:
            raise ValueError(f"must have at least {_MIN_KEY_LENGTH} characters")
        return _not_weak(key)

    @field_validator("signing_master_key")
    @classmethod
    def _master_key_is_strong(cls, key: SecretStr | None) -> SecretStr | None:
        if key is None:
            return None
        try:
            text = key.get_secret_value().encode("ascii")
            octets = base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", True)  # noqa: FBT003 - b64decode's own
        except ValueError:
            octets = b""
        if len(octets) != _MASTER_KEY_BYTES:
            raise ValueError(f"must be {_MASTER_KEY_BYTES} bytes as base64url")
        if not any(octets):
            raise ValueError("must not be all zeros: make one at random")
        return _not_weak(key)

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, text: str | None) -> str | None:
        try:
            _networks(text)
        except ValueError:
            raise ValueError(
                "must be networks like 10.0.0.0/8, separated by commas"
            ) from None
        return text

    @field_validator("rendition_widths")
    @classmethod
    def _widths_are_widths(cls, text: str) -> str:
        widths = [part.strip() for part in text.split(",")]
        if not all(_DIGITS.fullmatch(part) for part in widths):
            raise ValueError("must be whole numbers like 640,1280, separated by commas")
        if not all(1 <= int(part) <= MAX_WIDTH for part in widths):
            raise ValueError(f"must be from 1 to {MAX_WIDTH} pixels each")
        if len(set(map(int, widths))) < len(widths):
            raise ValueError("must not name a width twice")
        if len(widths) > MAX_WIDTHS:
            raise ValueError(f"must be at most {MAX_WIDTHS} widths")
        return text

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts_are_names(cls, text: str | None) -> str | None:
        if any(not _HOST.fullmatch(name) for name in _parts(text)):
            raise ValueError(
                "must be names like images.example.com or *.example.com, without "
                "a port, separated by commas"
            )
        return text

    @field_validator("cors_allowed_origins")
    @classmethod
    def _origins_are_origins(cls, text: str) -> str:
        for origin in text.split(",") if text not in {"", "*"} else ():
            parts = urlsplit(origin.strip())
            if parts.scheme not in {"http", "https"} or (
                origin.strip() != f"{parts.scheme}://{parts.netloc}" or not parts.netloc
            ):
                raise ValueError(
                    "must be *, or origins like https://shop.example, "
                    "separated by commas"
                )
        return text

    @property
    def trusted_networks(self) -> Sequence[IPv4Network | IPv6Network]:
        """The networks of the proxies whose `X-Forwarded-For` is believed."""
        return _networks(self.trusted_proxies)

    @property
    def widths_of_renditions(self) -> tuple[int, ...]:
        """The widths that `w` may ask for, the smallest first."""
        return tuple(sorted(int(part) for part in self.rendition_widths.split(",")))

    @property
    def names_of_hosts(self) -> Sequence[str]:
        """The further names under which the service answers with `AUTH=off`."""
        return [name.lower() for name in _parts(self.allowed_hosts)]

    @property
    def allowed_origins(self) -> Sequence[str]:
        """The origins whose scripts may read pictures; `*` means all."""
        origins = self.cors_allowed_origins.split(",")
        return [origin.strip() for origin in origins if origin.strip()]

    @property
    def base_url(self) -> str:
        """The address under which providers and browsers reach the service."""
        return self.public_base_url or f"http://127.0.0.1:{self.port}"


def _not_weak(key: SecretStr) -> SecretStr:
    """Return *key*; raises `ValueError` for one that is easy to guess."""
    text = key.get_secret_value()
    if len(set(text)) < _MIN_DIFFERENT or text in _SHIPPED_EXAMPLES:
        raise ValueError("is weak, or an example that everyone knows: make one anew")
    return key


def _networks(text: str | None) -> list[IPv4Network | IPv6Network]:
    return [ip_network(part) for part in _parts(text)]


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def load_settings(
    given: Mapping[str, str] | None = None, **overrides: object
) -> Settings:
    """Return the settings that *given*, else the environment, names.

    *overrides* outrank it. Raises `InvalidSettings` with every problem, each
    naming its variable.
    """
    if given is None:
        given = environment()
    fields = {
        name: given[name.upper()]
        for name in Settings.model_fields
        if name.upper() in given
    }
    try:
        return Settings(**{**fields, **overrides})  # type: ignore[arg-type]
    except ValidationError as error:
        problems = []
        for item in error.errors(include_url=False, include_input=False):
            name = "_".join(str(part) for part in item["loc"][:1]).upper()
            message = item["msg"].removeprefix("Value error, ")
            problems.append(f"{name}: {message}" if name else message)
        raise InvalidSettings(problems) from error
