"""Settings: their values, and how problems are reported."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from app.configuration import load_configuration
from app.settings import InvalidSettings, Settings, load_settings
from app.transient_images import should_use_image_url

if TYPE_CHECKING:
    from pathlib import Path

KEY = "0123456789abcdef0123456789abcdef"
ENOUGH = {"REDIS_URL": "redis://127.0.0.1", "S3_BUCKET": "images", "ADMIN_API_KEY": KEY}


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove this machine's settings and `.env`."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def set_all(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    """Set *values* in the environment."""
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def problems() -> list[str]:
    """Return the problems of the environment."""
    with pytest.raises(InvalidSettings) as raised:
        load_configuration()
    return raised.value.problems


def test_three_settings_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three settings are enough to start."""
    set_all(monkeypatch, ENOUGH)

    configuration = load_configuration()

    assert configuration.settings.port == 8080
    assert list(configuration.models) == ["default"]


def test_every_problem_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All problems of settings and models file are reported together."""
    (tmp_path / "models.toml").write_text('[models.default]\nprovider = "unknown"\n')
    set_all(
        monkeypatch,
        {
            "PORT": "70000",
            "REDIS_URL": "mysql://db",
            "S3_BUCKET": "No_Bucket",
            "AUTH": "maybe",
            "LEASE_SECONDS": "nan",
            "MAX_IMAGE_BYTES": "1.5",
            "HOT_TIER_BYTES": "-1",
            "PUBLIC_BASE_URL": "example.com",
            "LOG_FORMAT": "xml",
            "ADMIN_API_KEY": "short",
            "PROVIDERS_FILE": str(tmp_path / "models.toml"),
        },
    )

    named = {problem.partition(":")[0] for problem in problems()}

    assert named == {
        *("PORT", "REDIS_URL", "S3_BUCKET", "AUTH", "LEASE_SECONDS"),
        *("MAX_IMAGE_BYTES", "HOT_TIER_BYTES", "PUBLIC_BASE_URL", "LOG_FORMAT"),
        *("ADMIN_API_KEY", "PROVIDERS_FILE"),
    }


def test_a_missing_setting_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing REDIS_URL or S3_BUCKET is reported, an empty one as well."""
    monkeypatch.setenv("REDIS_URL", "")

    reported = " ".join(problems())

    assert "REDIS_URL" in reported
    assert "S3_BUCKET" in reported
    assert "ADMIN_API_KEY" not in reported


def test_missing_and_wrong_settings_are_reported_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Missing and wrong settings are reported together."""
    models = tmp_path / "models.toml"
    models.write_text('[models.default]\nprovider = "unknown"\n')
    set_all(monkeypatch, {"PORT": "none", "PROVIDERS_FILE": f"{models}"})
    reported = problems()

    assert {problem.partition(":")[0] for problem in reported} == {
        *("PORT", "REDIS_URL", "S3_BUCKET", "PROVIDERS_FILE"),
    }
    assert any(str(models) in problem for problem in reported)


@pytest.mark.parametrize(
    ("grace", "seconds"), [("auto", 310), (None, 310), ("45.5", 45.5), ("0", 0)]
)
def test_a_deploy_cuts_no_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, grace: str | None, seconds: float
) -> None:
    """The grace defaults to the longest deadline and ten seconds."""
    models = tmp_path / "models.toml"
    models.write_text(
        '[models.default]\nprovider = "placeholder"\n'
        '[models.fine]\nprovider = "openai"\nmodel = "x"\napi_key_env = ""\n'
    )
    said = {} if grace is None else {"SHUTDOWN_GRACE_SECONDS": grace}
    set_all(monkeypatch, {**ENOUGH, "PROVIDERS_FILE": f"{models}", **said})

    assert load_configuration().grace_seconds == seconds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("MAX_IMAGE_BYTES", text)
            for text in ("1.0", "1_000", "+5", "\u0665", "1e3")
        ),
        *(("PORT", text) for text in ("80.0", "8_080", " 80")),
        *(
            ("WAIT_TIMEOUT_SECONDS", text)
            for text in ("1e3", "1_0", "inf", "nan", "-1")
        ),
        *(("SHUTDOWN_GRACE_SECONDS", text) for text in ("Auto", "-1", "inf", "1e3")),
        *(("LEASE_SECONDS", text) for text in ("0.99", "\u0665", "5s")),
        *(("BUDGET_PER_DAY", text) for text in ("1e9", "infinity")),
    ],
)
def test_numbers_are_spelled_in_digits(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A number that only Python reads as one is a problem."""
    set_all(monkeypatch, {**ENOUGH, name: value})

    assert [problem.partition(":")[0] for problem in problems()] == [name]


def test_fractions_of_seconds_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds may have fractions, and a lease has at least one second."""
    set_all(
        monkeypatch,
        {**ENOUGH, "WAIT_TIMEOUT_SECONDS": "0.5", "LEASE_SECONDS": "1"},
    )
    settings = load_configuration().settings

    assert (settings.wait_timeout_seconds, settings.lease_seconds) == (0.5, 1)


def test_what_libraries_read_may_stand_in_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`.env` may also set AWS variables and the threshold."""
    set_all(monkeypatch, ENOUGH)
    # Whatever is added to it goes with the test.
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ["AWS_REGION"] = "from-outside"
    (tmp_path / ".env").write_text(
        "AWS_ACCESS_KEY_ID=from-file\nAWS_REGION=from-file\n"
        "IMAGE_URL_THRESHOLD_BYTES=3\n"
    )
    load_configuration()

    assert os.environ["AWS_ACCESS_KEY_ID"] == "from-file"
    assert os.environ["AWS_REGION"] == "from-outside"
    assert should_use_image_url(b"four")
    assert not should_use_image_url(b"two")


@pytest.mark.parametrize(
    "key",
    [
        "a" * 40,
        "abababababababababababababababababab",
        "c2VjcmV0LWZvci10aGUtdGVzdC12ZWN0b3ItMzJieXRlcyE",
    ],
)
def test_a_weak_admin_key_is_refused(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """An admin key with few different characters, or a shipped example, is refused."""
    set_all(monkeypatch, {**ENOUGH, "ADMIN_API_KEY": key})

    (problem,) = problems()

    assert problem.startswith("ADMIN_API_KEY: ")
    assert key not in problem


@pytest.mark.parametrize(
    "key",
    [
        "short",
        "A" * 43,
        "!" * 43,
        "ключ",
        "X2-n7Jq_5yZ3v0TnRk1cWbE9hUoLsPdA4gQxMzVtYi",
    ],
)
def test_a_weak_master_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """A master key that is not 32 random bytes in base64url is refused."""
    set_all(monkeypatch, {**ENOUGH, "SIGNING_MASTER_KEY": key})

    (problem,) = problems()

    assert problem.startswith("SIGNING_MASTER_KEY: ")
    assert key not in problem


def test_a_random_master_key_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random master key is accepted with and without padding, and never shown."""
    for key in (
        "X2-n7Jq_5yZ3v0TnRk1cWbE9hUoLsPdA4gQxMzVtYi8",
        "X2-n7Jq_5yZ3v0TnRk1cWbE9hUoLsPdA4gQxMzVtYi8=",
    ):
        set_all(monkeypatch, {**ENOUGH, "SIGNING_MASTER_KEY": key})

        assert key not in repr(load_configuration().settings)


def test_networks_and_origins_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad network, origin or host is reported at the start."""
    wrong = {
        "TRUSTED_PROXIES": "10.0.0.1/8",
        "CORS_ALLOWED_ORIGINS": "shop.example",
        "ALLOWED_HOSTS": "shop.example:8080",
    }
    set_all(monkeypatch, {**ENOUGH, **wrong})

    assert {problem.partition(":")[0] for problem in problems()} == wrong.keys()


@pytest.mark.parametrize("wrong", ["*", "a b", "*.*.a", "a,-b", "http://a", "a..b"])
def test_what_is_no_host_is_refused(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """A host must be one name, or a star before one."""
    set_all(monkeypatch, {**ENOUGH, "ALLOWED_HOSTS": wrong})

    assert [problem.partition(":")[0] for problem in problems()] == ["ALLOWED_HOSTS"]


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        (None, ["*"]),
        ("", []),
        ("*", ["*"]),
        ("https://a.example, http://b:8080", ["https://a.example", "http://b:8080"]),
    ],
)
def test_origins_may_be_none_at_all(
    monkeypatch: pytest.MonkeyPatch, given: str | None, allowed: list[str]
) -> None:
    """An empty ALLOWED_ORIGINS means no origin."""
    set_all(monkeypatch, ENOUGH)
    if given is not None:
        monkeypatch.setenv("CORS_ALLOWED_ORIGINS", given)

    assert load_configuration().settings.allowed_origins == allowed


def test_a_short_admin_key_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An admin key of 31 characters is refused, and not shown."""
    set_all(monkeypatch, {**ENOUGH, "ADMIN_API_KEY": KEY[:-1]})
    assert KEY[:-1] not in " ".join(problems())

    monkeypatch.setenv("ADMIN_API_KEY", KEY)
    assert KEY not in repr(load_configuration().settings)


def test_the_environment_outranks_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The environment overrides `.env`."""
    (tmp_path / ".env").write_text("PORT=9001\nLOG_LEVEL=DEBUG\n")
    set_all(monkeypatch, {**ENOUGH, "PORT": "9002"})

    settings = load_settings()

    assert (settings.port, settings.log_level) == (9002, "DEBUG")


def test_a_providers_key_may_stand_in_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`.env` may set a provider's key."""
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-from-a-file\n")
    (tmp_path / "models.toml").write_text(
        '[models.default]\nprovider = "openai"\nmodel = "gpt-image-2"\n'
    )
    set_all(monkeypatch, {**ENOUGH, "PROVIDERS_FILE": str(tmp_path / "models.toml")})

    models = load_configuration().models

    assert models["default"].api_key == "sk-from-a-file"
    assert "sk-from" not in repr(models)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://images.example.com/", "https://images.example.com"),
        ("http://10.0.0.1:8080", "http://10.0.0.1:8080"),
    ],
)
def test_the_public_address_loses_its_last_slash(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: str
) -> None:
    """The public address loses its last slash."""
    set_all(monkeypatch, {**ENOUGH, "PUBLIC_BASE_URL": value})

    assert load_settings().base_url == expected


def test_without_a_public_address_it_is_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a public address the base URL is this machine and its port."""
    set_all(monkeypatch, {**ENOUGH, "PORT": "9003"})

    assert load_settings().base_url == "http://127.0.0.1:9003"


@pytest.mark.parametrize(
    ("widths", "sentence"),
    [
        ("640,,1280", "must be whole numbers like 640,1280, separated by commas"),
        ("640,12e2", "must be whole numbers like 640,1280, separated by commas"),
        ("0,640", "must be from 1 to 8192 pixels each"),
        ("640,8193", "must be from 1 to 8192 pixels each"),
        ("640,1280,0640", "must not name a width twice"),
        (",".join(map(str, range(1, 66))), "must be at most 64 widths"),
    ],
)
def test_widths_of_renditions_are_checked(
    monkeypatch: pytest.MonkeyPatch, widths: str, sentence: str
) -> None:
    """A bad list of widths is reported in one sentence."""
    monkeypatch.setenv("RENDITION_WIDTHS", widths)
    with pytest.raises(InvalidSettings) as refused:
        load_settings()
    assert refused.value.problems == [f"RENDITION_WIDTHS: {sentence}"]


def test_widths_of_renditions_may_have_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Widths may have spaces and are sorted."""
    monkeypatch.setenv("RENDITION_WIDTHS", "1280, 16,640")
    assert load_settings().widths_of_renditions == (16, 640, 1280)
