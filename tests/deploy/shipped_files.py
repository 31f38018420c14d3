"""The files that containers are made of, parsed for the tests that compare them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from app.configuration import AFTER_A_CALL_SECONDS
from app.generation.config.vendors import VENDORS
from app.settings import Settings

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024


def default(name: str) -> Any:
    """Return the default of the setting *name*."""
    return Settings.model_fields[name].default


def longest_grace() -> float:
    """Return the grace of `auto` if a model has the longest default deadline."""
    return max(_default_deadlines()) + AFTER_A_CALL_SECONDS


def shortest_grace() -> float:
    """Return the grace of `auto` if every model has the shortest deadline."""
    return min(_default_deadlines()) + AFTER_A_CALL_SECONDS


def _default_deadlines() -> list[float]:
    return [vendor.deadline_seconds for vendor in VENDORS.values()]


def seconds(duration: str) -> int:
    """Return the number in a duration like `40s`."""
    return int(duration.removesuffix("s"))


def size(text: str) -> int:
    """Return the bytes of a size like `1gb`, `2g`, `256m` or `24m`."""
    number, unit = re.fullmatch(r"(\d+)([gm])b?", text.lower()).groups()  # type: ignore[union-attr]
    return int(number) * MIB * (1024 if unit == "g" else 1)


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions in order, as name and arguments."""
    text = (ROOT / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    pairs = (line.strip().partition(" ") for line in text.splitlines() if line.strip())
    return [(name, " ".join(rest.split())) for name, _, rest in pairs]


def compose() -> dict[str, Any]:
    """Return compose.yaml with anchors and merges resolved."""
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return parsed


def replicas() -> dict[str, dict[str, Any]]:
    """Return the services of compose.yaml that run this project's image."""
    services = compose()["services"]
    return {name: one for name, one in services.items() if "build" in one}


def resolved(value: str) -> str:
    """Return a value of compose.yaml if only required variables are set."""
    value = re.sub(r"\$\{\w+:?-(.*?)\}", r"\1", value)
    return re.sub(r"\$\{\w+:\?.*?\}", "a-lighthouse-in-a-storm-0123456789", value)


def nginx_text() -> str:
    """Return deploy/nginx.conf."""
    return (ROOT / "deploy" / "nginx.conf").read_text()
