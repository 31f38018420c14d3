"""`keys` and `sign` on the ledger, without a running service."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.__main__ import main
from app.signing import LIVE_PATH, canonical, is_signature

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., tuple[int, str, str]]

MASTER_KEY = "X2-n7Jq_5yZ3v0TnRk1cWbE9hUoLsPdA4gQxMzVtYi8"


@pytest.fixture
def command(
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Return a function that runs a command and returns its status and output."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "S3_BUCKET": bucket,
        "REDIS_URL": "redis://127.0.0.1:1",
        "PUBLIC_BASE_URL": "https://pictures.example",
        "SIGNING_MASTER_KEY": MASTER_KEY,
    }.items():
        monkeypatch.setenv(name, value)
    # The log of the tests' own process stays as it is.
    for module in ("keys", "sign"):
        monkeypatch.setattr(f"app.commands.{module}.configure_logging", lambda *_: None)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def made(command: Command, project: str = "acme/shop") -> Any:
    """Make a signing key."""
    status, out, error = command(
        "keys", "create", project, "--kind", "signing", "--json"
    )
    assert status == 0, error
    return json.loads(out)


def given(url: str) -> dict[str, str]:
    """Return the parameters of a URL."""
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True))


def test_a_new_key_is_alone_on_the_last_line(command: Command) -> None:
    """`keys create` prints the key alone on the last line; `keys list` never does."""
    status, out, _ = command("keys", "create", "acme/shop", "--role", "read")
    _, listed, _ = command("keys", "list", "acme/shop")
    _, elsewhere, _ = command("keys", "list", "acme/studio")

    key = out.splitlines()[-1]
    assert status == 0
    assert re.fullmatch("pk_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", key)
    assert key[3:15] in listed
    assert "read" in listed
    assert key not in listed
    assert elsewhere == ""


def test_json_is_the_object_of_the_api(command: Command) -> None:
    """`--json` prints the object of `POST /api/v1/keys`."""
    key = made(command)

    assert key.keys() == {"id", "key", "project", "role", "kind", "created_at"}
    assert (key["project"], key["kind"]) == ("acme/shop", "signing")


def test_an_address_is_alone_and_verifies(command: Command) -> None:
    """`sign` prints a URL alone, signed by the newest key with the given options."""
    made(command)
    key = made(command)

    status, out, error = command(
        *("sign", "acme/shop", "--prompt", 'Zürich & 100% "snow" + 雪'),
        *("--aspect-ratio", "16:9", "--seed", "0", "--variant", "3"),
        *("--model", "default", "--expires", "60"),
    )

    assert (status, error) == (0, "")
    (url,) = out.splitlines()
    claims = given(url)
    assert url.startswith(f"https://pictures.example{LIVE_PATH}?")
    assert claims["prompt"] == 'Zürich & 100% "snow" + 雪'
    assert (claims["kid"], claims["project"]) == (key["id"], "acme/shop")
    assert (claims["seed"], claims["variant"]) == ("0", "3")
    assert 50 < int(claims["exp"]) - time.time() <= 60
    text = canonical("GET", LIVE_PATH, claims)
    assert is_signature(claims["sig"], key["key"], text)


def test_an_older_key_signs_where_it_is_named(command: Command) -> None:
    """`--kid` names an older key; the URL lasts an hour; a revoked key is refused."""
    old, new = made(command), made(command)

    _, out, _ = command(
        *("sign", "acme/shop", "--prompt", "a red fox", "--kid", old["id"]),
        *("--width", "640", "--height", "480"),
    )
    assert given(out.strip())["kid"] == old["id"]
    assert 3590 < int(given(out.strip())["exp"]) - time.time() <= 3600

    assert command("keys", "revoke", new["id"])[0] == 0
    _, out, _ = command("sign", "acme/shop", "--prompt", "a red fox")
    assert given(out.strip())["kid"] == old["id"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--prompt", ""], "--prompt"),
        (["--prompt", "x", "--seed", "-1"], "--seed"),
        (["--prompt", "x", "--aspect-ratio", "7:5"], "--aspect-ratio"),
        (["--prompt", "x", "--width", "640"], "--height"),
        (["--prompt", "x", "--model", "unknown"], "--model"),
        (["--prompt", "x", "--expires", "0"], "--expires"),
        (["--prompt", "x", "--expires", "315619201"], "--expires"),
        (["--prompt", "x", "--kid", "k1"], "keys create acme/shop --kind signing"),
    ],
)
def test_what_would_be_refused_is_not_signed(
    command: Command, options: list[str], said: str
) -> None:
    """`sign` refuses a bad option by its name and prints no URL."""
    status, out, error = command("sign", "acme/shop", *options)

    assert (status, out) == (1, "")
    assert said in error


def test_no_key_of_another_project_signs(command: Command) -> None:
    """`sign` for a project without a key names the command that makes one."""
    other = made(command, "acme/studio")

    for options in ([], ["--kid", other["id"]]):
        status, out, error = command("sign", "acme/shop", "--prompt", "x", *options)
        assert (status, out) == (1, "")
        assert "keys create acme/shop --kind signing" in error


def test_without_a_master_key_nothing_is_signed(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without SIGNING_MASTER_KEY `sign` names the missing setting."""
    monkeypatch.delenv("SIGNING_MASTER_KEY")

    for arguments in (
        ["sign", "acme/shop", "--prompt", "x"],
        ["keys", "create", "acme/shop", "--kind", "signing"],
    ):
        status, out, error = command(*arguments)
        assert (status, out) == (1, "")
        assert "SIGNING_MASTER_KEY" in error


def test_what_is_no_project_is_said(command: Command) -> None:
    """A malformed project is one sentence and status 1."""
    for arguments in (
        ["keys", "create", "Shop"],
        ["sign", "Shop", "--prompt", "x"],
        ["keys", "revoke", "unknown"],
    ):
        status, out, error = command(*arguments)
        assert (status, out) == (1, "")
        assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "choices"),
    [("--role", "'read', 'project', 'admin'"), ("--kind", "'api', 'signing'")],
)
def test_a_wrong_choice_shows_what_can_be_typed(
    capsys: pytest.CaptureFixture[str], option: str, choices: str
) -> None:
    """`keys create` names the roles and kinds as they are typed, with status 2."""
    with pytest.raises(SystemExit, match="2"):
        main(("keys", "create", "acme/shop", option, "root"))

    assert f"(choose from {choices})" in capsys.readouterr().err
