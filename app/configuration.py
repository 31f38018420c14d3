"""Settings and models file of a replica, read and checked together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.environment import environment, export
from app.generation.config.models_file import (
    InvalidModelsFile,
    load_models,
)
from app.settings import InvalidSettings, Settings, load_settings
from app.storage.redis.client.address import parse_address
from app.telemetry.tracing import is_installed as tracing_is_installed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.generation.model_config import ModelConfig


# Time to check and store the picture of the last call.
AFTER_A_CALL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings and the models of one replica.

    *image_folder* is set in embedded mode, where the object store is a folder.
    """

    settings: Settings
    models: Mapping[str, ModelConfig]
    image_folder: Path | None = None

    @property
    def grace_seconds(self) -> float:
        """The seconds of the drain; `auto` lets any call end."""
        grace = self.settings.shutdown_grace_seconds
        if grace != "auto":
            return grace
        longest = max(
            (model.deadline_seconds for model in self.models.values()), default=0.0
        )
        return longest + AFTER_A_CALL_SECONDS


def load_configuration(
    *, image_folder: Path | None = None, **overrides: object
) -> Configuration:
    """Read settings and models file; raises `InvalidSettings` with every problem."""
    # botocore reads its own settings by itself.
    export("AWS_")
    given = environment()
    overridden = {name.upper(): value for name, value in overrides.items()}
    named = {**given, **overridden}
    problems = _redis_problems(named.get("REDIS_URL"))
    if image_folder is None and not named.get("S3_BUCKET"):
        problems.append("S3_BUCKET: is needed; or try `python -m app dev`")
    settings: Settings | None = None
    models: Mapping[str, ModelConfig] = {}
    try:
        settings = load_settings(given, **overrides)
        if settings.tracing == "on" and not tracing_is_installed():
            problems.append("TRACING: needs the packages of the extra `tracing`")
    except InvalidSettings as error:
        problems += error.problems
    try:
        models = load_models(_providers_file(named), given)
    except InvalidModelsFile as error:
        problems += error.problems
    if settings is None or problems:
        raise InvalidSettings(problems)
    return Configuration(settings, models, image_folder)


def _redis_problems(url: object) -> list[str]:
    if not url:
        return ["REDIS_URL: is needed; or try `python -m app dev`"]
    try:
        parse_address(str(url))
    except ValueError as error:
        return [f"REDIS_URL: {error}"]
    return []


def _providers_file(named: Mapping[str, object]) -> Path | None:
    name = named.get("PROVIDERS_FILE")
    return Path(str(name)) if name else None
