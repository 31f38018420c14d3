"""Amounts of the operator's currency as whole billionths: sums stay exact."""

from __future__ import annotations

from decimal import Decimal

_BILLION = 10**9


def to_units(amount: float) -> int:
    """Return *amount*, as it is written, in billionths."""
    return int((Decimal(repr(amount)) * _BILLION).to_integral_value())


def from_units(units: int) -> float:
    """Return billionths as the number that they are."""
    return float(Decimal(units) / _BILLION)


def as_text(units: int) -> str:
    """Return billionths as a plain decimal: `0.04`."""
    text = f"{Decimal(units) / _BILLION:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def of_text(text: str) -> int:
    """Read the form of `as_text`; raises `ValueError`."""
    try:
        return int(Decimal(text) * _BILLION)
    except ArithmeticError as error:
        raise ValueError(text) from error
