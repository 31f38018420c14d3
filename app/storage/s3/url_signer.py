"""Signed URLs of the objects in one bucket (AWS Signature Version 4, query string).

`generate_presigned_url` resolves the endpoint, builds a request and emits
events for each URL, which takes as long again as the signature. So the client
signs one URL, which shows how the bucket is addressed and what signatures
name; botocore's signer for query strings signs all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import NoCredentialsError

if TYPE_CHECKING:
    from aiobotocore.credentials import AioCredentials

VALID_SECONDS = 1200

_ANY_KEY = "any"
# What S3's paths leave unescaped.
_UNESCAPED = "/~"


@dataclass(frozen=True, slots=True)
class _Pattern:
    """The beginning of every URL, and the region and service of its signature."""

    base: str
    region: str
    service: str


class UrlSigner:
    """Signs GETs of the objects in *bucket*, which *client* reaches."""

    def __init__(
        self, client: Any, bucket: str, credentials: AioCredentials | None
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._credentials = credentials
        self._pattern: _Pattern | None = None

    async def url(self, key: str) -> str:
        """Return a URL of *key* that is good for 20 minutes.

        Raises `NoCredentialsError`, and what renewing temporary ones raises.
        """
        if self._credentials is None:
            raise NoCredentialsError
        if self._pattern is None:
            self._pattern = await self._learned()
        base, region, service = (
            self._pattern.base,
            self._pattern.region,
            self._pattern.service,
        )
        request = AWSRequest("GET", url=base + quote(key, safe=_UNESCAPED))
        frozen = await self._credentials.get_frozen_credentials()
        S3SigV4QueryAuth(frozen, service, region, VALID_SECONDS).add_auth(request)
        return str(request.url)

    async def _learned(self) -> _Pattern:
        signed = urlsplit(
            await self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": _ANY_KEY}
            )
        )
        (named,) = parse_qs(signed.query)["X-Amz-Credential"]
        _, _, region, service, _ = named.rsplit("/", 4)
        path = signed.path.removesuffix(_ANY_KEY)
        return _Pattern(f"{signed.scheme}://{signed.netloc}{path}", region, service)
