"""One name for every way in which S3 fails: `StorageUnavailable`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from app.errors import StorageUnavailable


class Refused(Exception):
    """S3 answered with an error; *code* is what its XML says."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def code_of(error: ClientError) -> str:
    """Return the error's code; its HTTP status in digits where there was no XML."""
    answer: dict[str, Any] = error.response
    return str(answer.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """Return the HTTP status of the answer; 0 where there was none."""
    answer: dict[str, Any] = error.response
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def translated() -> Iterator[None]:
    """Turn what botocore, aiohttp or the network raise into `StorageUnavailable`.

    It surrounds our own calls only, never the body of a context manager: an
    `OSError` of the reader's client would read as an outage of the store.
    """
    try:
        yield
    except (
        Refused,
        ClientError,
        BotoCoreError,
        # It is no BotoCoreError, although it means an answer in no S3 dialect.
        ResponseParserError,
        aiohttp.ClientError,
        OSError,
    ) as error:
        raise StorageUnavailable("The object store is unavailable.") from error
