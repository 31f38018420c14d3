"""The dialects that the fake provider speaks, one file each."""

from tests.fake_provider.dialects import a1111, fal, gemini, openai, replicate

DIALECTS = {
    dialect.name: dialect
    for dialect in (
        openai.DIALECT,
        gemini.DIALECT,
        replicate.DIALECT,
        fal.DIALECT,
        a1111.DIALECT,
    )
}

__all__ = ["DIALECTS"]
