from __future__ import annotations

import io
import json
import logging
import threading
import warnings
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from app.errors import StorageUnavailable
from app.telemetry import REQUEST_ID, Metrics, configure_logging
from app.telemetry.counters import Durations
from app.telemetry.log_lines import JsonFormatter, Pseudonyms, TextFormatter, trace_of
from app.telemetry.series import CALL_OUTCOMES, LOOKUP_RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

PROMPT = "a lighthouse in a storm"


@pytest.fixture
def untouched_logging() -> Iterator[None]:
    """Restore the process's logging after the test."""
    root, ours = logging.getLogger(), logging.getLogger("app")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def logged(log_format: Any = "json", level: str = "DEBUG") -> LogReader:
    """Start logging to memory."""
    return LogReader(log_format, level)


class LogReader:
    """The log output from its making to its reading."""

    def __init__(self, log_format: Any, level: str) -> None:
        self._stream = io.StringIO()
        self._stop = configure_logging(level, log_format, stream=self._stream)

    def text(self) -> str:
        """Stop logging and return everything."""
        self._stop()
        return self._stream.getvalue()

    def records(self) -> list[dict[str, Any]]:
        """Stop logging and return the objects, one per line."""
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.mark.usefixtures("untouched_logging")
def test_a_record_is_an_object_on_one_line() -> None:
    """A record is one line of JSON with time, level, event, request id and fields."""
    log = logged()
    token = REQUEST_ID.set("storm-1")
    logging.getLogger("app.x").warning(
        "object\nlost", extra={"size": 5, "ratio": 0.5, "name_of": "Zürich \udcff"}
    )
    REQUEST_ID.reset(token)
    logging.getLogger("app.x").info("idle")
    lost, idle = log.records()

    moment = datetime.fromisoformat(lost.pop("time"))
    assert moment.utcoffset() == timedelta(0)
    assert lost == {
        "level": "WARNING",
        "event": "object\nlost",
        "request_id": "storm-1",
        "size": 5,
        "ratio": 0.5,
        "name_of": "Zürich \udcff",
    }
    assert (idle["event"], "request_id" in idle) == ("idle", False)
    assert idle["time"].endswith("Z")


@pytest.mark.usefixtures("untouched_logging")
def test_the_level_counts_for_our_records() -> None:
    """At INFO nothing below INFO is written."""
    log = logged(level="INFO")
    logging.getLogger("app.x").debug("detail")
    logging.getLogger("app.x").info("news")

    assert [record["event"] for record in log.records()] == ["news"]


@pytest.mark.usefixtures("untouched_logging")
def test_libraries_are_not_trusted_with_words() -> None:
    """Records of libraries are dropped below WARNING and lose their arguments above."""
    log = logged()
    library = logging.getLogger("botocore.endpoint")
    library.debug("Making request with %s", PROMPT)
    library.info(PROMPT)
    library.warning("Retrying %s", PROMPT)
    library.error(f"Task failed\nexception={PROMPT!r}")
    text = log.text()

    assert PROMPT not in text
    events = [json.loads(line)["event"] for line in text.splitlines()]
    assert events == ["Retrying %s", "Task failed"]


def refuse() -> None:
    """Raise an error that quotes the prompt, as a library does."""
    try:
        int(f"{PROMPT} pk_secret")
    except ValueError as error:
        raise ConnectionRefusedError(111, "Connection refused", PROMPT) from error


def adapt() -> None:
    """Raise an error of the port from a library's, as an adapter does."""
    try:
        refuse()
    except OSError as error:
        raise StorageUnavailable("The object store is unavailable.") from error


@pytest.mark.parametrize(
    "formatter", [JsonFormatter(Pseudonyms("a")), TextFormatter(Pseudonyms("a"))]
)
def test_a_trace_has_places_and_no_messages(formatter: logging.Formatter) -> None:
    """A trace lists places and classes of the whole chain, and no messages."""
    with pytest.raises(StorageUnavailable) as raised:
        adapt()
    record = logging.makeLogRecord(
        {"name": "app.x", "msg": "request failed", "exc_info": raised._excinfo}
    )
    line = formatter.format(record)

    assert PROMPT not in line
    assert "pk_secret" not in line
    order = [
        "builtins.ValueError",
        "builtins.ConnectionRefusedError: Connection refused",
        "app.errors.StorageUnavailable: The object store is unavailable.",
    ]
    places = [line.index(sentence) for sentence in order]
    assert places == sorted(places)
    assert "test_telemetry.py" in line


def test_a_trace_has_the_error_of_the_task_that_failed() -> None:
    """The trace of a group of tasks includes where the first of them failed."""
    with pytest.raises(StorageUnavailable) as raised:
        adapt()
    group = ExceptionGroup("unhandled errors in a TaskGroup", [raised.value])

    trace = trace_of(group)

    assert trace[-1] == "builtins.ExceptionGroup"
    assert "app.errors.StorageUnavailable: The object store is unavailable." in trace


@pytest.mark.usefixtures("untouched_logging")
def test_a_field_of_an_unknown_class_is_only_named() -> None:
    """A field that is not plain data is logged as the name of its class."""
    log = logged()
    logging.getLogger("app.x").info("x", extra={"error": ValueError(PROMPT)})

    assert log.records()[0]["error"] == "ValueError"


@pytest.mark.usefixtures("untouched_logging")
def test_people_get_text() -> None:
    """With LOG_FORMAT=text a record is one line of text."""
    log = logged("text")
    token = REQUEST_ID.set("storm-1")
    logging.getLogger("app.x").info("listening", extra={"port": 8080})
    REQUEST_ID.reset(token)

    assert log.text().endswith('INFO     listening port=8080 request_id="storm-1"\n')


class Clogged(io.StringIO):
    """A stream whose reader is stuck until the test lets it go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()
        self.writers: set[threading.Thread] = set()

    def write(self, text: str) -> int:
        """Wait until the test lets go, then write."""
        self.writers.add(threading.current_thread())
        self.let_go.wait()
        return super().write(text)


@pytest.mark.filterwarnings("always")
@pytest.mark.usefixtures("untouched_logging")
def test_a_warning_is_a_record() -> None:
    """A Python warning is logged as a record of its own."""
    log = logged()
    warnings.warn("Corrupt EXIF data", stacklevel=1)

    (record,) = log.records()
    assert (record["level"], record["logger"]) == ("WARNING", "py.warnings")
    assert record["event"].endswith("UserWarning: Corrupt EXIF data")


@pytest.mark.usefixtures("untouched_logging")
def test_a_full_log_pipe_does_not_stop_the_service() -> None:
    """A full log pipe blocks only the log thread, and the service can end."""
    stream = Clogged()
    stop = configure_logging("INFO", "json", stream=stream)
    for number in range(20_000):
        logging.getLogger("app.x").info("flood", extra={"number": number})
    stop()

    assert stream.getvalue() == ""
    assert threading.current_thread() not in stream.writers
    stream.let_go.set()
    for writer in stream.writers:
        writer.join(timeout=10)
    assert 1000 < len(stream.getvalue().splitlines()) < 20_000


def series(text: bytes) -> set[str]:
    """Return the names and labels of all samples."""
    lines = text.decode().splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def test_every_series_exists_from_the_start() -> None:
    """Every series exists with value zero before its first event."""
    metrics = Metrics(
        routes=[("GET", "/api/v1/live/generate")], models={"slow": "placeholder"}
    )
    found = series(metrics.render())
    expected = {
        'paintonce_requests_total{method="GET",route="/api/v1/live/generate",status="200"}',
        'paintonce_requests_total{method="GET",route="/api/v1/live/generate",status="503"}',
        'paintonce_requests_total{method="other",route="unmatched",status="400"}',
        'paintonce_request_seconds_count{route="/api/v1/live/generate"}',
        'paintonce_request_seconds_count{route="unmatched"}',
        'paintonce_generation_seconds_count{model="slow"}',
        'paintonce_spend_total{model="slow"}',
        "paintonce_hot_tier_bytes",
        "paintonce_uncounted_hits_total",
        'paintonce_dependency_up{dependency="redis"}',
        'paintonce_dependency_up{dependency="object_store"}',
        'paintonce_cut_bodies_total{reason="short"}',
        'paintonce_cut_bodies_total{reason="stalled"}',
    }
    expected |= {
        f'paintonce_cache_lookups_total{{result="{result}"}}'
        for result in LOOKUP_RESULTS
    }
    expected |= {
        "paintonce_provider_calls_total"
        f'{{model="slow",outcome="{outcome}",provider="placeholder"}}'
        for outcome in CALL_OUTCOMES
    }

    assert expected <= found


def test_events_are_counted_under_their_names() -> None:
    """Each event increments its own series with its own labels."""
    metrics = Metrics(models={"slow": "placeholder"})
    metrics.lookup("restored")
    metrics.uncounted_hit()
    metrics.provider_call("placeholder", "slow", "ok", 2.5, 0.04)
    metrics.provider_call("placeholder", "slow", "bad_image", 1.5, 0.04)
    metrics.dependency_up("redis", up=True)
    metrics.hot_tier_bytes(1234)
    metrics.cut_body("stalled")
    metrics.request("/healthz", "GET", 200, 0.01)
    metrics.request("/healthz", "BREW", 405, 0.01)
    value = metrics._registry.get_sample_value

    assert value("paintonce_cache_lookups_total", {"result": "restored"}) == 1
    assert value("paintonce_uncounted_hits_total") == 1
    call = {"provider": "placeholder", "model": "slow", "outcome": "ok"}
    assert value("paintonce_provider_calls_total", call) == 1
    assert value("paintonce_generation_seconds_sum", {"model": "slow"}) == 4
    assert value("paintonce_spend_total", {"model": "slow"}) == pytest.approx(0.08)
    assert value("paintonce_dependency_up", {"dependency": "redis"}) == 1
    assert value("paintonce_hot_tier_bytes") == 1234
    assert value("paintonce_cut_bodies_total", {"reason": "stalled"}) == 1
    brewed = {"route": "/healthz", "method": "other", "status": "405"}
    assert value("paintonce_requests_total", brewed) == 1
    assert value("paintonce_request_seconds_count", {"route": "/healthz"}) == 2


@given(st.lists(st.floats(0, 200)))
@example([0.001, 0.0011, 120, 121])
def test_durations_fall_into_the_buckets_of_prometheus(seconds: list[float]) -> None:
    """Our histogram gives the output of the Prometheus client's own."""
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    buckets = (0.001, 0.5, 1, 120)
    histogram = Histogram("took", "Time.", ["route"], registry=theirs, buckets=buckets)
    histogram.labels("/healthz")
    durations = Durations("took", "Time.", "route", buckets)
    durations.declare("/healthz")
    ours.register(durations)

    for one in seconds:
        histogram.labels("/healthz").observe(one)
        durations.observe("/healthz", one)

    expected = [
        line
        for line in generate_latest(theirs).decode().splitlines()
        if "_created" not in line
    ]
    assert generate_latest(ours).decode().splitlines() == expected


def test_two_applications_count_apart() -> None:
    """Two applications in one process do not share counters."""
    one, other = Metrics(), Metrics()
    one.uncounted_hit()

    assert other._registry.get_sample_value("paintonce_uncounted_hits_total") == 0


def test_a_guessed_prompt_is_not_confirmed_by_the_log() -> None:
    """The log has keyed pseudonyms of prompt hashes, and never the hash."""
    prompt_hash = "3" * 64
    logged = [Pseudonyms(secret).of(prompt_hash) for secret in ("a", "a", "b")]

    assert logged[0] == logged[1] != logged[2]
    assert prompt_hash[:8] not in logged[0]
    formatter = JsonFormatter(Pseudonyms("a"))
    record = logging.LogRecord("app.x", logging.WARNING, "", 1, "lease lost", (), None)
    record.prompt_hash = prompt_hash
    line = json.loads(formatter.format(record))
    assert line["prompt"] == logged[0]
    assert prompt_hash not in json.dumps(line)
