"""Retry hints: how long a provider asks to be left alone."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from app.generation.transport.documents import pick

LONGEST_HINT = timedelta(seconds=120)

_NUMBER = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,12})?)s?\s*")


def retry_hint(headers: Mapping[str, str], document: object = None) -> timedelta | None:
    """Return the first usable hint, at most `LONGEST_HINT`; None without one.

    In this order: `retry-after-ms` (OpenAI), `Retry-After` in seconds or as a
    date (RFC 9110, 10.2.3), and in the parsed body *document* `retry_after`
    (Replicate) and `RetryInfo.retryDelay` (google.rpc). *headers* ignore case.
    """
    hints = (
        _seconds(headers.get("retry-after-ms"), unit=0.001),
        _seconds(headers.get("retry-after")),
        _seconds_until(headers.get("retry-after"), headers.get("date")),
        _seconds(pick(document, "retry_after")),
        _seconds(_google_retry_delay(document)),
    )
    seconds = next((hint for hint in hints if hint is not None and hint > 0), None)
    if seconds is None:
        return None
    return timedelta(seconds=min(seconds, LONGEST_HINT.total_seconds()))


def _seconds(value: object, *, unit: float = 1.0) -> float | None:
    if isinstance(value, str) and (number := _NUMBER.fullmatch(value)):
        return float(number[1]) * unit
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value * unit if math.isfinite(value) else None
    return None


def _seconds_until(value: str | None, sent: str | None) -> float | None:
    until = _http_date(value)
    if until is None:
        return None
    # By the provider's own clock where the answer has a `Date`: ours may differ.
    return (until - (_http_date(sent) or datetime.now(UTC))).total_seconds()


def _http_date(value: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(value or "")
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _google_retry_delay(document: object) -> object:
    details = pick(document, "error", "details")
    for detail in details if isinstance(details, list) else ():
        if delay := pick(detail, "retryDelay"):
            return delay
    return None
