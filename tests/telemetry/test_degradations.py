"""Degradations are counted each time, and logged once a minute for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.telemetry import Metrics
from app.telemetry.degradations import Degradations
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    import pytest


def test_each_kind_has_one_record_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Each degradation counts every time and is logged once a minute."""
    clock, metrics = ManualClock(), Metrics()
    degradations = Degradations(metrics, clock=clock)

    for _ in range(1000):
        degradations.note("rules")
    degradations.note("rate_limits")
    clock.now += 60.0
    degradations.note("rules")

    logged = [getattr(record, "what", None) for record in caplog.records]
    assert logged == ["rules", "rate_limits", "rules"]
    counted = metrics.render().decode()
    assert 'paintonce_degraded_total{what="rules"} 1001.0' in counted
