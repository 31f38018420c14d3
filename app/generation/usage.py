"""Usage: what a provider counted for a picture, in tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

from app.generation.transport.documents import pick

# More than any picture takes; a figure beyond it is none.
_MAX_TOKENS = 10**9


class Usage(NamedTuple):
    """Tokens of one painting or of several; 0 where nothing was counted."""

    input_tokens: int = 0
    input_image_tokens: int = 0
    input_text_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0

    def plus(self, other: Usage | None) -> Usage:
        """Return the sum of both."""
        if other is None:
            return self
        return Usage(*map(sum, zip(self, other, strict=True)))

    def as_json(self) -> dict[str, Any]:
        """Return it in the words of OpenAI's images API."""
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {
                "image_tokens": self.input_image_tokens,
                "text_tokens": self.input_text_tokens,
            },
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
        }

    @classmethod
    def from_openai(cls, document: object) -> Usage | None:
        """Return the `usage` of an answer in OpenAI's words, None where it has none."""
        usage = pick(document, "usage")
        if not isinstance(usage, dict):
            return None
        return cls(
            _tokens(pick(usage, "input_tokens")),
            _tokens(pick(usage, "input_tokens_details", "image_tokens")),
            _tokens(pick(usage, "input_tokens_details", "text_tokens")),
            _tokens(pick(usage, "output_tokens")),
            _tokens(pick(usage, "total_tokens")),
        )


def _tokens(value: object) -> int:
    is_count = type(value) is int and 0 <= value <= _MAX_TOKENS
    return value if is_count else 0  # type: ignore[return-value]
