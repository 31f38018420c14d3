"""Signed URLs: the same as botocore's own, which is the reference."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from aiobotocore.session import get_session
from botocore.exceptions import NoCredentialsError

from app.storage.s3.client import open_client
from app.storage.s3.url_signer import VALID_SECONDS, UrlSigner

ENDPOINTS = ("http://127.0.0.1:9000", "https://store.example/under/a/path")
KEYS = ("acme/shop/generated/1.png", "a ~/b'(1)*!+&=%41?#.png", "möwe/\u20ac")


@pytest.fixture(params=[None, "a session's token/+="])
def token(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give botocore credentials, lasting ones and temporary ones."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    if request.param:
        monkeypatch.setenv("AWS_SESSION_TOKEN", request.param)


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give botocore one time for all signatures."""
    now = datetime(2026, 11, 29, 22, 30, 1)  # noqa: DTZ001 - as botocore's own
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda **_: now)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.usefixtures("token", "stopped_clock")
async def test_urls_are_those_of_botocore(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, key: str
) -> None:
    """A URL is signed as `generate_presigned_url` would sign it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    async with open_client(get_session()) as (client, credentials):
        signed = await UrlSigner(client, "pictures", credentials).url(key)
        reference = await client.generate_presigned_url(
            "get_object",
            Params={"Bucket": "pictures", "Key": key},
            ExpiresIn=VALID_SECONDS,
        )

    assert signed == reference


async def test_without_credentials_nothing_is_signed() -> None:
    """The error is botocore's own, which the store's adapter translates."""
    client: Any = None

    with pytest.raises(NoCredentialsError):
        await UrlSigner(client, "pictures", None).url("key")
