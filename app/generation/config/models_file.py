"""The models file: the model behind each alias, checked as a whole."""

from __future__ import annotations

import json
import re
import tomllib
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.generation.capabilities import OPTIONS
from app.generation.config.model_table import ModelTable
from app.generation.config.vendors import VENDORS
from app.generation.model_config import ModelConfig

# An alias is a query value, a header value and a label of metrics.
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")


class InvalidModelsFile(ValueError):
    """Every problem of the models file, one sentence each, named by its key."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_models(
    path: Path | None, environ: Mapping[str, str]
) -> dict[str, ModelConfig]:
    """Return the models of the file at *path* by alias, with keys from *environ*.

    Without a path there is one, `default`, and it is the placeholder. Raises
    `InvalidModelsFile` with everything that is wrong.
    """
    if path is None:
        return {"default": ModelConfig(alias="default", provider="placeholder")}
    try:
        return _parsed(_read(path), environ)
    except InvalidModelsFile as error:
        where = f"PROVIDERS_FILE: {path}"
        raise InvalidModelsFile([f"{where}: {it}" for it in error.problems]) from None


def _parsed(
    document: Mapping[str, object], environ: Mapping[str, str]
) -> dict[str, ModelConfig]:
    problems = [
        f"{_quoted(name)}: unknown key" for name in document if name != "models"
    ]
    tables = document.get("models")
    if not isinstance(tables, dict) or not tables:
        raise InvalidModelsFile([*problems, "models: must have a table for each alias"])
    models = {}
    for alias, table in tables.items():
        problems += _option_problems(alias, table)
        problems += _accept_problems(alias, table)
        try:
            models[alias] = _parse(alias, table, environ)
        except InvalidModelsFile as error:
            problems += error.problems
    problems += _fallback_problems(tables)
    problems += _name_problems(tables)
    if problems:
        raise InvalidModelsFile(problems)
    return models


def _read(path: Path) -> dict[str, Any]:
    """Return the tables of the file, unchecked."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"can't be read: {error.strerror}"
        raise InvalidModelsFile([problem]) from error
    except UnicodeDecodeError as error:
        raise InvalidModelsFile(["is no UTF-8 text"]) from error
    # Beside syntax errors these are numbers of thousands of digits and tables
    # nested by the hundred.
    except (ValueError, RecursionError) as error:
        raise InvalidModelsFile([f"is no TOML: {error}"]) from error


def _parse(alias: str, table: object, environ: Mapping[str, str]) -> ModelConfig:
    where = f"models.{_quoted(alias)}"
    problems = []
    if not _ALIAS.fullmatch(alias):
        problems.append(
            f"{where}: an alias has 1 to 63 letters, digits, dots, hyphens and "
            "underscores, and starts with a letter or a digit"
        )
    try:
        parsed = ModelTable.model_validate(table, context=environ)
    except ValidationError as error:
        known = f"unknown key; known are {', '.join(ModelTable.model_fields)}"
        problems += _problems_in(where, error, unknown=known)
    if problems:
        raise InvalidModelsFile(problems)
    terms = parsed.model_dump(exclude={"api_key_env"})
    lists = ("also", "accept", "fallbacks", "result_hosts")
    terms |= {name: tuple(terms[name]) for name in lists}
    return ModelConfig(
        alias=alias,
        api_key=environ.get(parsed.api_key_env or ""),
        **terms,
    )


def _problems_in(where: str, error: ValidationError, *, unknown: str) -> list[str]:
    """Return each problem of a table after the key that has it."""
    return [
        ".".join((where, *map(_quoted, map(str, item["loc"]))))
        + f": {_sentence(item['type'], item['msg'], unknown)}"
        for item in error.errors(include_url=False, include_input=False)
    ]


def _sentence(kind: str, message: str, unknown: str) -> str:
    match kind:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return unknown
        case "model_type":
            return "must be a table"
        case "invalid-json-value":
            return "has no form in JSON"
    message = message.removeprefix("Value error, ")
    return message.replace("Input should", "must")


def _option_problems(alias: str, table: object) -> list[str]:
    provider = table.get("provider") if isinstance(table, dict) else None
    vendor = VENDORS.get(provider) if isinstance(provider, str) else None
    options = table.get("options", {}) if isinstance(table, dict) else None
    if vendor is None or not isinstance(options, dict):
        return []
    try:
        vendor.options.model_validate(options)
    except ValidationError as error:
        known = f"unknown option; known are {', '.join(vendor.options.model_fields)}"
        return _problems_in(f"models.{_quoted(alias)}.options", error, unknown=known)
    return []


def _accept_problems(alias: str, table: object) -> list[str]:
    """Return a problem where a known model does not know an option."""
    if not isinstance(table, dict):
        return []
    provider, model = table.get("provider"), table.get("model")
    vendor = VENDORS.get(provider) if isinstance(provider, str) else None
    if vendor is None or not isinstance(model, str) or model not in vendor.known:
        return []
    known = {**vendor.known[model].options}
    if edit_model := vendor.known[model].edit_model:
        known |= vendor.known[edit_model].options
    has = ", ".join(known) or "none"
    return [
        f"models.{_quoted(alias)}.accept: {_quoted(model)} has no {name}; it has {has}"
        for name in _names(table, "accept")
        if name in OPTIONS and name not in known
    ]


def _fallback_problems(tables: Mapping[str, object]) -> list[str]:
    fallbacks = {alias: _names(table, "fallbacks") for alias, table in tables.items()}
    problems = []
    for alias, names in fallbacks.items():
        where = f"models.{_quoted(alias)}.fallbacks"
        if alias in names:
            problems.append(f"{where}: names itself")
        if len(set(names)) < len(names):
            problems.append(f"{where}: names a model twice")
        problems += [
            f"{where}: no model {_quoted(name)} is in this file"
            for name in dict.fromkeys(names)
            if name not in tables
        ]
        if circle := _circle(alias, fallbacks):
            problems.append(f"{where}: circular: {' -> '.join(circle)}")
    return problems


def _name_problems(tables: Mapping[str, object]) -> list[str]:
    """Return each further name that means something else already."""
    problems = []
    taken: dict[str, str] = {}
    for alias, table in tables.items():
        where = f"models.{_quoted(alias)}.also"
        for name in _names(table, "also"):
            if name in tables:
                problems.append(f"{where}: {_quoted(name)} is an alias of this file")
            elif name in taken:
                first = _quoted(taken[name])
                problems.append(
                    f"{where}: {_quoted(name)} is a name of {first} already"
                )
            taken.setdefault(name, alias)
    return problems


def _names(table: object, key: str) -> list[str]:
    names = table.get(key) if isinstance(table, dict) else None
    if not isinstance(names, list):
        return []
    return [name for name in names if isinstance(name, str)]


def _circle(alias: str, fallbacks: Mapping[str, list[str]]) -> list[str] | None:
    """Return the shortest way from *alias* over others back to itself."""
    ways = deque([[alias]])
    seen = {alias}
    while ways:
        way = ways.popleft()
        for name in fallbacks.get(way[-1], ()):
            if name == alias and len(way) > 1:
                return [*way, alias]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return None


def _quoted(key: str) -> str:
    """Return *key* as TOML writes it, shortened where it is endless."""
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key[:80])
