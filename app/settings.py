"""Settings from the environment: frozen, checked all at once, secrets hidden.

The environment outranks `.env` in the working directory; an empty value is as
if unset. Nothing but the composition root reads them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024

Bytes = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False, le=86_400)]

_REDIS_SCHEMES = (
    *("redis", "redis+sentinel", "redis+cluster"),
    *("rediss", "rediss+sentinel", "rediss+cluster"),
    "unix",
)
_MIN_KEY_LENGTH = 32


class InvalidSettings(ValueError):
    """Every problem of the configuration, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(BaseSettings):
    """What an operator can set: the table of `docs/reference/configuration.md`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    host: str = "0.0.0.0"  # noqa: S104 - a container's service; `dev` binds to loopback
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    redis_url: SecretStr | None = None
    s3_bucket: (
        Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] | None
    ) = None
    public_base_url: str | None = None
    auth: Literal["required", "off"] = "required"
    # Its default is checked as well: `auth`, which comes first, may need a key.
    admin_api_key: Annotated[SecretStr | None, Field(validate_default=True)] = None
    providers_file: Path | None = None
    mark_ai_generated: Literal["auto", "off"] = "auto"
    max_image_bytes: Annotated[int, Field(ge=1)] = 16 * MIB
    image_url_threshold_bytes: Bytes = 262_144
    transient_ttl_seconds: Annotated[
        float, Field(ge=0, allow_inf_nan=False, le=31_536_000)
    ] = 0
    transient_quota_bytes: Bytes = 256 * MIB
    transient_total_bytes: Bytes = 0
    hot_tier_bytes: Bytes = 128 * MIB
    generation_timeout_seconds: Seconds = 300
    wait_timeout_seconds: Seconds = 60
    lease_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False, le=3600)] = 20
    shutdown_grace_seconds: Annotated[
        float, Field(ge=0, allow_inf_nan=False, le=3600)
    ] = 30
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Literal["json", "text"] = "json"
    tracing: Literal["on", "off"] = "off"

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme_is_known(cls, url: SecretStr | None) -> SecretStr | None:
        if url and urlsplit(url.get_secret_value()).scheme not in _REDIS_SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in _REDIS_SCHEMES)
            raise ValueError(f"must start with one of {known}")
        return url

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
    def _admin_key_is_long(
        cls, key: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if key is None and info.data.get("auth") == "required":
            raise ValueError("AUTH=required needs it (AUTH=off trusts everyone)")
        if key and len(key.get_secret_value()) < _MIN_KEY_LENGTH:
            raise ValueError(f"must have at least {_MIN_KEY_LENGTH} characters")
        return key

    @property
    def base_url(self) -> str:
        """The address under which providers and browsers reach the service."""
        return self.public_base_url or f"http://127.0.0.1:{self.port}"


def load_settings(**overrides: object) -> Settings:
    """Read the environment; *overrides* outrank it.

    Raises `InvalidSettings` with every problem, each naming its variable.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = []
        for item in error.errors(include_url=False, include_input=False):
            name = "_".join(str(part) for part in item["loc"][:1]).upper()
            message = item["msg"].removeprefix("Value error, ")
            problems.append(f"{name}: {message}" if name else message)
        raise InvalidSettings(problems) from error
