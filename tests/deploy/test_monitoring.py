"""The shipped dashboard and alert rules use series that the service exports."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.telemetry import Metrics
from tests.deploy.shipped_files import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DASHBOARD = ROOT / "deploy" / "grafana" / "paintonce.json"
RULES = ROOT / "deploy" / "prometheus" / "paintonce.rules.yml"

# Labels that Prometheus itself adds to every series.
ADDED_LABELS = {"instance", "job", "le"}

ALERT_TESTS = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'paintonce_dependency_up{{job="paintonce", dependency="redis"}}'
        values: '1x5 0x10'
      - series: 'up{{job="paintonce", instance="replica-1"}}'
        values: '1x15'
      - series: 'paintonce_provider_calls_total{{job="paintonce",
          provider="openai", model="default", outcome="ok"}}'
        values: '0+1x60'
      - series: 'paintonce_provider_calls_total{{job="paintonce",
          provider="openai", model="default", outcome="failed"}}'
        values: '0+1x60'
    alert_rule_test:
      - eval_time: 5m
        alertname: PaintonceRedisAway
        exp_alerts: []
      - eval_time: 10m
        alertname: PaintonceRedisAway
        exp_alerts:
          - exp_labels: {{job: paintonce, severity: critical}}
            exp_annotations:
              summary: {redis_summary}
              description: {redis_description}
      - eval_time: 10m
        alertname: PaintonceReplicaDown
        exp_alerts: []
      - eval_time: 30m
        alertname: PaintonceProviderFails
        exp_alerts:
          - exp_labels:
              {{job: paintonce, provider: openai, model: default, severity: warning}}
            exp_annotations:
              summary: openai fails 50% of the calls for default.
              description: {provider_description}
"""


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    parsed = yaml.safe_load(RULES.read_text())
    return [rule for group in parsed["groups"] for rule in group["rules"]]


def queries() -> Iterator[str]:
    """Yield every expression of the dashboard."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]


def exported() -> dict[str, set[str]]:
    """Return the series that a replica exports, with the names of their labels."""
    metrics = Metrics(
        routes=[("GET", "/api/v1/live/generate")], models={"default": "openai"}
    )
    known: dict[str, set[str]] = {}
    text = metrics.render().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            known.setdefault(sample.name, set()).update(sample.labels)
    return known


@pytest.mark.parametrize("source", ["dashboard", "rules"])
def test_every_query_asks_for_series_that_exist(source: str) -> None:
    """Every query of a panel or an alert uses existing series and labels."""
    known = exported()
    asked = (
        list(queries()) if source == "dashboard" else [one["expr"] for one in rules()]
    )
    assert asked

    for expression in asked:
        for name, matchers in re.findall(
            r"(paintonce_\w+)(?:\{([^}]*)\})?", expression
        ):
            assert name in known, (name, expression)
            labels = set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\"", matchers))
            assert labels - ADDED_LABELS <= known[name], expression


def test_every_alert_says_how_bad_it_is_and_what_it_means() -> None:
    """Every alert has a severity, a summary, a description and a row in the docs."""
    operations = (ROOT / "docs" / "reference" / "operations.md").read_text()
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert f"`{rule['alert']}`" in operations


def test_no_two_alerts_fire_for_the_same_reason() -> None:
    """Every alert has an expression of its own."""
    expressions = [rule["expr"] for rule in rules()]

    assert len(set(expressions)) == len(expressions)


def test_prometheus_takes_rules_and_queries(tmp_path: Path) -> None:
    """Prometheus parses all rules and queries, and the alerts fire as tested."""
    promtool = shutil.which("promtool")
    if promtool is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is missing: apt-get install prometheus")
        pytest.skip("promtool is not installed (Debian's package: prometheus)")
    recorded = [
        {"record": f"dashboard:{number}", "expr": _without_variables(expression)}
        for number, expression in enumerate(queries())
    ]
    dashboard = tmp_path / "dashboard.yml"
    dashboard.write_text(
        json.dumps({"groups": [{"name": "dashboard", "rules": recorded}]})
    )
    by_name = {rule["alert"]: rule["annotations"] for rule in rules()}
    tests = tmp_path / "alerts.yml"
    tests.write_text(
        ALERT_TESTS.format(
            rules=RULES,
            redis_summary=by_name["PaintonceRedisAway"]["summary"],
            redis_description=by_name["PaintonceRedisAway"]["description"],
            provider_description=by_name["PaintonceProviderFails"]["description"],
        )
    )

    for command in (
        ["check", "rules", str(RULES), str(dashboard)],
        ["test", "rules", str(tests)],
    ):
        done = subprocess.run(
            [promtool, *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _without_variables(expression: str) -> str:
    """Return *expression* as Grafana sends it."""
    return expression.replace("$__rate_interval", "5m").replace("$instance", ".*")
