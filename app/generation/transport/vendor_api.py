"""VendorApi: one vendor's API: its address, our key, and what is logged of it.

The key goes to the origin of the base address and nowhere else: every address
that an answer names is held against that origin before it is asked.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from yarl import URL

from app.errors import BadImage
from app.generation.transport.documents import parse_json, pick
from app.generation.transport.outbound import ask
from app.generation.transport.verdicts import verdict_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from app.generation.model_config import ModelConfig

logger = logging.getLogger(__name__)

# Usage figures, logs of a model and the like.
_ENVELOPE_BYTES = 65_536

# What is left of an address without white space, controls and non-ASCII.
_SPELLING = re.compile(r"[!-~]{1,1024}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
# Codes are logged, so nothing that could be a sentence, a prompt or a key.
_CODE = re.compile(r"[A-Za-z0-9_]{1,64}")


@dataclass(frozen=True, slots=True)
class Reply:
    """A vendor's answer; *document* is its JSON, None where it is none.

    *headers* ignore case. *request_id* is what the vendor's support asks for.
    """

    status: int
    headers: Mapping[str, str]
    document: Any
    request_id: str | None = None

    @property
    def is_success(self) -> bool:
        """Whether the status is of the 2xx class (RFC 9110, 15.3)."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the class's bounds

    def with_document(self, document: Any) -> Reply:
        """Return the same answer around another *document*."""
        return replace(self, document=document)


class VendorApi:
    """Speaks to one vendor about one model, with *headers* that carry the key.

    An answer may be as large as a picture of *max_image_bytes* in base64.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        session: aiohttp.ClientSession,
        headers: Mapping[str, str],
        max_image_bytes: int,
    ) -> None:
        self._vendor = config.provider
        self._model = config.model
        self._session = session
        self._base_url = config.base_url.rstrip("/")
        self._api_key = config.api_key
        self._limit_bytes = max_image_bytes * 4 // 3 + _ENVELOPE_BYTES
        self.headers = headers

    async def ask(
        self,
        method: str,
        target: str | URL,
        *,
        json: object = None,
        data: aiohttp.FormData | None = None,
    ) -> Reply:
        """Ask once for a path below the base address, or for an `own` one.

        Raises `ProviderFailed` where nothing came back, which may have been
        billed unless no connection was made, or `BadImage` for an endless answer.
        """
        url = self.url(target) if isinstance(target, str) else target
        response = await ask(
            self._session,
            method,
            url,
            headers=self.headers,
            limit_bytes=self._limit_bytes,
            json=json,
            data=data,
        )
        document = parse_json(response.body)
        reply = Reply(
            response.status,
            response.headers,
            document,
            self._discreet(_REQUEST_ID, *_request_ids(response.headers, document)),
        )
        self._log(reply, method)
        return reply

    def url(self, path: str) -> URL:
        """Return the address of *path*, which is quoted, below the base address."""
        return URL(f"{self._base_url}{quote(path, safe='/:@')}", encoded=True)

    def own(self, address: object) -> URL:
        """Return an *address* out of an answer, if it is at the base's own origin.

        Raises `BadImage` for any other: the key must not go there.
        """
        if isinstance(address, str) and _SPELLING.fullmatch(address):
            try:
                url = URL(address, encoded=True)
                if url.user is None and url.origin() == URL(self._base_url).origin():
                    return url
            except ValueError:
                pass
        raise BadImage("The image provider points to an address that is not its own.")

    def error_code(self, document: object) -> str | None:
        """Return the code, or else the type, of an error, if it has one."""
        return self._discreet(_CODE, *_codes(document))

    def _log(self, reply: Reply, method: str) -> None:
        level = logging.WARNING
        if reply.status < 400:  # noqa: PLR2004 - RFC 9110 15.5
            # A job is asked after again and again.
            level = logging.DEBUG if method == "GET" else logging.INFO
        logger.log(
            level,
            "provider answered",
            extra={
                "provider": self._vendor,
                "provider_model": self._model,
                "provider_status": reply.status,
                "provider_error_code": self.error_code(reply.document),
                # A blocked account is for the operator to see, not for callers.
                "provider_verdict": None
                if reply.is_success
                else verdict_of(reply.document, reply.headers),
                "provider_request_id": reply.request_id,
            },
        )

    def _discreet(self, form: re.Pattern[str], *texts: object) -> str | None:
        """Return the first text of that *form* that does not contain our key."""
        for text in texts:
            if (
                isinstance(text, str)
                and form.fullmatch(text)
                and not (self._api_key and self._api_key in text)
            ):
                return text
        return None


def _request_ids(headers: Mapping[str, str], document: object) -> tuple[object, ...]:
    return (
        headers.get("x-request-id"),
        headers.get("x-fal-request-id"),
        pick(document, "responseId"),
        pick(document, "request_id"),
        pick(document, "id"),
    )


def _codes(document: object) -> tuple[object, ...]:
    """Return where OpenAI, Google, FastAPI, fal and stable-diffusion.cpp say it."""
    error = pick(document, "error")
    detail = pick(document, "detail", 0)
    return (
        pick(error, "code"),
        pick(error, "type"),
        pick(error, "status"),
        pick(detail, "type"),
        pick(document, "error_type"),
        error,
    )
