"""Secrets at rest: AES-256-GCM under the master key of the settings."""

from __future__ import annotations

import base64
import os
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
MASTER_KEY_BYTES = 32


class WrongMasterKey(ValueError):
    """The secret was sealed under another master key, or for another name."""


class SecretBox:
    """Seals texts under one key; each is bound to a *name* that it opens under."""

    def __init__(self, master_key: bytes) -> None:
        self._cipher = AESGCM(master_key)

    @classmethod
    def of(cls, text: str) -> Self:
        """Read a master key as base64url; raises `ValueError` unless of 32 bytes."""
        return cls(decode_master_key(text))

    def seal(self, secret: str, *, name: str) -> str:
        """Return *secret* encrypted; the text differs each time."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, secret.encode(), name.encode())
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, sealed: str, *, name: str) -> str:
        """Return the secret; raises `WrongMasterKey`."""
        try:
            data = base64.urlsafe_b64decode(sealed)
            nonce, text = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
            return self._cipher.decrypt(nonce, text, name.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise WrongMasterKey("The secret can't be opened.") from error


def decode_master_key(text: str) -> bytes:
    """Return the 32 bytes that *text* is in base64url; raises `ValueError`."""
    padded = text.encode("ascii") + b"=" * (-len(text) % 4)
    key = base64.b64decode(padded, altchars=b"-_", validate=True)
    if len(key) != MASTER_KEY_BYTES:
        raise ValueError(f"{MASTER_KEY_BYTES} bytes are needed")
    return key
