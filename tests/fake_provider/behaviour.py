"""The behaviour that a test sets for the fake provider with a call."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One way to answer: *mode* is a name in a dialect's `modes`.

    *delay_seconds* pass first, then *hold* waits for a release (mode `hold`
    is `ok` with it); a job is submitted at once, and held afterwards. After
    *times* calls the provider is `ok` again; None means for ever. *headers*
    are added to an error's answer; *status* and *body* are those of mode
    `error`. *picture_bytes* pads the file.

    A job is done after *polls* polls. The first ones are spoiled by the modes
    in *faults*, one each, and the first fetches of its result, where that is
    pointed to, by those in *stumbles*. Such results lie at *results_at*, an
    origin; None is the provider's own. At each poll the references are fetched
    in the ways that the next of *fetches* names (`"opened whole"`); see
    `tests.fake_provider.fetching`.
    """

    mode: str = "ok"
    delay_seconds: float = 0.0
    hold: bool = False
    times: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 500
    body: Any = None
    media_type: str = "image/png"
    picture_bytes: int = 0
    picture_size: tuple[int, int] = (96, 64)
    polls: int = 1
    faults: tuple[str, ...] = ()
    stumbles: tuple[str, ...] = ()
    results_at: str | None = None
    fetches: tuple[str, ...] = ()
    references_from: str = ""
    references_at: str = ""

    @classmethod
    def parse(cls, document: dict[str, Any]) -> Self:
        """Read the JSON of `POST /_behaviour`; `TypeError` for unknown fields."""
        known = {item.name for item in fields(cls)}
        if unknown := set(document) - known:
            raise TypeError(f"unknown: {sorted(unknown)}")
        values = dict(document)
        if "picture_size" in values:
            values["picture_size"] = tuple(values["picture_size"])
        if values.get("mode") == "hold":
            values |= {"mode": "ok", "hold": True}
        return cls(**values)
