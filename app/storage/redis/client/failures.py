"""The meaning of a failed command: an outage, or a fault of its own."""

from __future__ import annotations

from redis.exceptions import (
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import TimeoutError as RedisTimedOut

_AWAY_SIGNS = (
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
    "MISCONF",
    "BUSY",
    "UNBLOCKED",
)


class CacheFull(Exception):
    """Redis refuses writes for lack of memory; reads and deletions still work."""


class RedisAway(Exception):
    """A command got no usable answer; what it did is unknown."""

    def __init__(
        self, cause: Exception, *, is_worth_a_retry: bool, was_silent: bool = False
    ) -> None:
        super().__init__()
        self.__cause__ = cause
        self.is_worth_a_retry = is_worth_a_retry
        self.was_silent = was_silent


def meaning_of(error: Exception) -> RedisAway:
    """Return *error* as an outage of Redis; raise a fault of the command itself."""
    match error:
        case RedisAway():
            return error
        case OutOfMemoryError():
            raise CacheFull from error
        case ReadOnlyError():
            return RedisAway(error, is_worth_a_retry=True)
        case RedisTimedOut():
            return RedisAway(error, is_worth_a_retry=False, was_silent=True)
        case ClusterDownError() | TryAgainError():
            # redis-py takes the word that is looked for below off their text.
            return RedisAway(error, is_worth_a_retry=False)
        case ResponseError():
            text = str(error)
            # Scripts report the refusal inside a sentence of their own.
            if "OOM" in text:
                raise CacheFull from error
            if any(sign in text for sign in _AWAY_SIGNS):
                return RedisAway(error, is_worth_a_retry=False)
            raise error
    return RedisAway(error, is_worth_a_retry=True)
