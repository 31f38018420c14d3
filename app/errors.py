"""Everything that can go wrong, as one tree that knows no HTTP.

ServiceError
├── InvalidRequest                what was asked is not well-formed
│   ├── InvalidParameter          names the parameter
│   └── InvalidStorageKey
├── NotAuthenticated
├── Forbidden
│   ├── InvalidSignature
│   └── SignatureExpired
├── NoSigningKey                  there is no key to sign with
├── NotFound
│   └── ModelNotFound             no model has the name that was given
├── ReferencesGone                a refresh whose reference pictures are gone
├── UnsupportedImage              bytes that are no accepted picture
├── QuotaFull                     transient images: no room, nothing is evicted
├── GenerationError               a painting that ended without a picture
│   ├── PromptRejected            the provider refused the prompt
│   ├── ProviderRateLimited
│   ├── ProviderFailed
│   │   ├── BadImage              the provider answered with no usable picture
│   │   └── ResultDelayed         the picture is made, and can't be fetched yet
│   └── GenerationTimedOut
├── QueueFull                     this replica's queue is full
├── RateLimited                   too many requests of one key or address
├── PaymentRefused                this painting is not paid for
│   ├── BudgetExhausted           what there was to spend is spent
│   ├── KeyRevoked                while its request waited
│   ├── SignatureRevoked
│   ├── ScopeClosed               it takes no new pictures
│   ├── ScopeGone
│   └── NewPicturesLimited        one address has asked for too many
└── Unavailable                   try again: nothing was decided
    ├── CacheUnavailable          Redis is unavailable
    ├── StorageUnavailable        the object store is unavailable
    │   └── LaterVersion          a later release wrote what is there
    ├── StillGenerating           the painting goes on
    ├── ShuttingDown
    └── GenerationDisabled

An outage is an exception, never an answer of "nothing there"; a miss is an
answer, never an exception.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import timedelta
from enum import StrEnum


class ServiceError(Exception):
    """The root. *detail* is a sentence for the caller.

    It never has a prompt, a key, bytes of a picture or an internal address;
    those belong to the chained exception, which no caller sees. *reason* is the
    sentence for an operator where that one may name more, such as the bucket.
    """

    def __init__(
        self,
        detail: str,
        *,
        reason: str | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason or detail
        self.retry_after = retry_after


class InvalidRequest(ServiceError):
    """The request is not well-formed."""


class InvalidParameter(InvalidRequest):
    """The value of *parameter* is missing, repeated, malformed or out of bounds."""

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(detail)
        self.parameter = parameter


class InvalidStorageKey(InvalidRequest):
    """Not an `org/project/category/filename` key."""


class NotAuthenticated(ServiceError):
    """No key, or none that is known."""


class Forbidden(ServiceError):
    """The key is known and may not do this."""


class InvalidSignature(Forbidden):
    """The signature of a URL is not right, or can't be checked here."""


class SignatureExpired(Forbidden):
    """The signature of a URL is right, and its time is over."""


class NoSigningKey(ServiceError):
    """There is no key to sign with."""


class NotFound(ServiceError):
    """Nothing is there, or nothing that this caller may see."""


class ModelNotFound(NotFound):
    """No model has the name that was given."""


class ReferencesGone(ServiceError):
    """Reference pictures of a painting no longer live."""


class UnsupportedImage(ServiceError):
    """The bytes are none of the accepted image types."""


class QuotaFull(ServiceError):
    """No room for another transient image."""


class CallEnd(StrEnum):
    """The certainty about what a call to a provider cost.

    `app.generation.transport.call_ends` decides it for every vendor.
    """

    CERTAIN = "certain"  # nothing can have been billed
    BILLED = "billed"  # it costs the price
    AMBIGUOUS = "ambiguous"  # it may have been billed, and is booked at the price


class GenerationError(ServiceError):
    """A painting ended without a picture; *end* is what that may have cost."""

    end = CallEnd.CERTAIN

    def __init__(
        self,
        detail: str,
        *,
        end: CallEnd | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.end = end or type(self).end


class PromptRejected(GenerationError):
    """The provider refused the prompt."""


class ProviderRateLimited(GenerationError):
    """The provider asked us to slow down; *retry_after* is its own hint."""


class ProviderFailed(GenerationError):
    """The provider is unavailable, answered with an error, or with nonsense.

    *blames_request* marks an answer about this one request (400, 422): it
    means nothing for the next one.
    """

    def __init__(
        self,
        detail: str,
        *,
        end: CallEnd | None = None,
        retry_after: timedelta | None = None,
        blames_request: bool = False,
    ) -> None:
        super().__init__(detail, end=end, retry_after=retry_after)
        self.blames_request = blames_request


class BadImage(ProviderFailed):
    """The provider's answer holds no picture that we can vouch for."""

    end = CallEnd.BILLED


class ResultDelayed(ProviderFailed):
    """A job has succeeded, and its picture can't be fetched yet.

    The job is kept: the next request only fetches.
    """

    end = CallEnd.BILLED


class GenerationTimedOut(GenerationError):
    """A deadline passed, ours or the provider's.

    *is_own_cut*: we ended the call before its own `deadline_seconds`.
    """

    end = CallEnd.AMBIGUOUS
    is_own_cut = False


class QueueFull(ServiceError):
    """This replica's queue of paintings, or its memory for bodies, is full."""


class RateLimited(ServiceError):
    """Too many requests of one key or address; *retry_after* is when to come back."""


class PaymentRefused(ServiceError):
    """This painting is not paid for.

    *payer* names what refused: a request with another payer may try.
    """

    def __init__(
        self,
        detail: str,
        *,
        payer: Hashable = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.payer = payer


class BudgetExhausted(PaymentRefused):
    """A budget, or the quota of a scope, is used up."""


class KeyRevoked(PaymentRefused):
    """The key was revoked while its request waited."""


class SignatureRevoked(PaymentRefused):
    """The key of a signed URL was revoked while its request waited."""


class ScopeClosed(PaymentRefused):
    """The scope takes no new pictures."""


class ScopeGone(PaymentRefused):
    """There is no such scope, or none any more."""


class NewPicturesLimited(PaymentRefused):
    """One address has had as many new pictures as it may have for now."""


class Unavailable(ServiceError):
    """Not now; the same request may succeed later."""


class CacheUnavailable(Unavailable):
    """Redis is unavailable, so nothing may be painted and nothing be counted."""


class StorageUnavailable(Unavailable):
    """The object store is unavailable."""


class LaterVersion(StorageUnavailable):
    """A stored object was written by a later release: an outage of that one alone."""


class StillGenerating(Unavailable):
    """The painting goes on; the caller's time is up.

    *generation_id* names the painting where it is known.
    """

    def __init__(
        self,
        detail: str,
        *,
        retry_after: timedelta | None = None,
        generation_id: str | None = None,
    ) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.generation_id = generation_id


class ShuttingDown(Unavailable):
    """This replica is on its way out; another one answers."""


class GenerationDisabled(Unavailable):
    """The operator has switched painting off."""


def root_of(error: Exception) -> Exception:
    """Return the first in the chain of causes that *error* ends."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error
