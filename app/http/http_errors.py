"""Errors of HTTP alone, which no use case raises."""

from __future__ import annotations

from typing import Self

from app.errors import InvalidRequest, ServiceError


class MalformedRequest(InvalidRequest):
    """The HTTP itself, or the body's form, is wrong."""


class MalformedHead(MalformedRequest):
    """The request's head can't be read."""


class MethodNotAllowed(ServiceError):
    """The resource knows other methods: *allowed*."""

    def __init__(self, allowed: frozenset[str]) -> None:
        super().__init__("The method is not allowed here; see Allow.")
        self.allowed = allowed


class RequestTimeout(ServiceError):
    """The body was not complete in time."""


class LengthRequired(ServiceError):
    """The body came without a length."""


class PayloadTooLarge(ServiceError):
    """The body has more bytes than are accepted."""

    @classmethod
    def for_picture(cls, max_bytes: int) -> Self:
        """Return the error of a picture of more than *max_bytes*."""
        return cls(f"A picture may have at most {max_bytes} bytes.")


class UriTooLong(ServiceError):
    """The request target has more bytes than are accepted."""


class HeadersTooLarge(ServiceError):
    """One field of the request's head has more bytes than are accepted."""


class PreconditionFailed(ServiceError):
    """The picture is not the one that `If-Match` or `If-Unmodified-Since` names."""


class ExpectationFailed(ServiceError):
    """`Expect` asks for something other than 100-continue."""


class UnsupportedMediaType(ServiceError):
    """The body's type or encoding is none of those accepted."""


class RangeNotSatisfiable(ServiceError):
    """No byte of the range asked for is there; *size* bytes are."""

    def __init__(self, size: int) -> None:
        super().__init__(f"The range lies beyond the {size} bytes that are there.")
        self.size = size
