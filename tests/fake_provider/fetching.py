"""Fetches lent references the ways providers do: late, twice, in parts.

fal opens an address to read its headers and leaves, then reads it whole. Replicate's
runner reads when it gets that far. Others send HEAD or a range first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fake_provider.records import Job

WAYS = ("whole", "opened", "head", "range")


async def fetch(job: Job, way: str) -> list[dict[str, Any]]:
    """Fetch every address in the job's input in one of `WAYS`; return what came.

    An address at `references_from` is asked for at `references_at`, where the
    service listens that is known under another name.
    """
    known, listens = job.behaviour.references_from, job.behaviour.references_at
    seen = []
    async with aiohttp.ClientSession() as session:
        for address in _addresses(job.call.body):
            url = address.replace(known, listens) if known and listens else address
            method = "HEAD" if way == "head" else "GET"
            headers = {"Range": "bytes=0-99"} if way == "range" else {}
            async with session.request(method, url, headers=headers) as answer:
                data = b"" if way == "opened" else await answer.read()
                seen.append(
                    {
                        "way": way,
                        "address": address,
                        "status": answer.status,
                        "length": answer.headers.get("Content-Length"),
                        "bytes": len(data),
                    }
                )
    return seen


def _addresses(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _addresses(item)
    elif isinstance(value, str) and value.startswith(("http://", "https://")):
        yield value
