"""Signed URLs, computed: what a signature covers, and the signature itself.

Pure and of the standard library alone, so that a page's generator may copy this
file. The service checks with the same functions; the rules are those of
docs/how-to/signed-images.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import quote

VERSION = "paintonce-v1"
LIVE_PATH = "/api/v1/live/generate"


def canonical(method: str, path: str, parameters: Mapping[str, str]) -> str:
    """Return the text that a signature covers; *parameters* are decoded.

    A `sig` among them is left out, so a verifier may pass what it was sent. A
    signature for GET covers HEAD. Raises `ValueError` for lone surrogates.
    """
    covered = "GET" if method == "HEAD" else method
    query = _encoded({n: v for n, v in parameters.items() if n != "sig"})
    return f"{VERSION}\n{covered}\n{path}\n{query}"


def signature(secret: str, canonical: str) -> str:
    """Return base64url, without padding, of HMAC-SHA256; the text is the key."""
    digest = hmac.digest(secret.encode(), canonical.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_signature(given: str, secret: str, canonical: str) -> bool:
    """Return whether *given* is the signature, in constant time.

    Texts are compared, so another spelling of the same bytes is none.
    """
    expected = signature(secret, canonical).encode()
    return hmac.compare_digest(given.encode(errors="surrogatepass"), expected)


def sign_url(
    base_url: str,
    prompt: str,
    *,
    project: str,
    kid: str,
    secret: str,
    exp: int,
    **parameters: str | int,
) -> str:
    """Return the address of a picture for an `<img>`, until *exp* (Unix seconds).

    *kid* and *secret* are a signing key's id and key. *parameters* are those of
    live generation. What is signed is the path that the service sees: where
    *base_url* has a path of its own, a proxy removes it.
    """
    signed = {name: str(value) for name, value in parameters.items()}
    signed |= {"prompt": prompt, "project": project, "kid": kid, "exp": str(exp)}
    sig = signature(secret, canonical("GET", LIVE_PATH, signed))
    return f"{base_url.rstrip('/')}{LIVE_PATH}?{_encoded(signed)}&sig={sig}"


def _encoded(parameters: Mapping[str, str]) -> str:
    """Return the query, sorted; only RFC 3986's unreserved characters stay."""
    return "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in sorted(parameters.items())
    )
