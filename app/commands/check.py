"""`check`: try what a replica depends on, and say what is wrong with it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING

from app.commands.opened import opened_services
from app.configuration import load_configuration
from app.errors import ServiceError, root_of
from app.generation.assemble import adapter_for
from app.generation.config.large_pictures import warning_for
from app.generation.transport.outbound import open_outbound_session
from app.storage.fence import LEASE_WARNING
from app.storage.ports.object_store import PlaceMissing
from app.storage.store_proof import Verdict
from app.telemetry import configure_logging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.configuration import Configuration
    from app.storage.fence import Fence
    from app.storage.redis.proof import RedisProof

PING_WITHIN_SECONDS = 5.0
PROBE_WITHIN_SECONDS = 15.0

_MADE_BY = "the first start of `python -m app serve` makes it, where its key may."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe `check`."""
    parser.add_argument(
        "--providers",
        action="store_true",
        help="also ask each provider for what costs nothing, where it has such a thing",
    )


async def check(*, providers: bool) -> int:
    """Try what a replica depends on, and say what is wrong with it.

    Asking a provider for a picture would cost one: only *providers* asks, and
    only for what costs nothing. All else was checked when the file was read.
    """
    configuration = load_configuration()
    # What is wrong is printed, and only once.
    configure_logging("CRITICAL", configuration.settings.log_format)
    faults = 0
    async with opened_services(configuration) as opened:
        for name, ping in opened.pings.items():
            fault = await _fault(ping, PING_WITHIN_SECONDS)
            faults += _printed(name, fault or "ok", is_fault=fault is not None)
            if name == "redis" and fault is None and opened.prove_redis:
                faults += await _unproved_redis(opened.prove_redis)
            if name == "object_store" and fault is None:
                faults += await _unproved(opened.fence)
    if providers:
        return 1 if faults + await _faulty_providers(configuration) else 0
    limit = configuration.settings.max_image_bytes
    async with open_outbound_session() as session:
        for alias, model in configuration.models.items():
            can = adapter_for(model, session, limit).capabilities.in_a_line()
            _printed("model", f"{alias}: {model.provider}, configuration ok; {can}")
            if sentence := warning_for(model.options, limit):
                _printed("model", f"{alias}, a warning: {sentence}")
    return 1 if faults else 0


async def _unproved_redis(prove: Callable[[], Awaitable[RedisProof]]) -> bool:
    """Print what Redis refuses, in one line, and what should be changed in it."""
    proof: RedisProof | None = None

    async def prove_once() -> None:
        nonlocal proof
        proof = await prove()

    fault = await _fault(prove_once, PROBE_WITHIN_SECONDS)
    if proof is None:
        return _printed("redis_proof", fault or "", is_fault=True)
    for warning in proof.warnings:
        _printed("redis_proof", f"a warning: {warning}")
    if proof.faults:
        missing = ", ".join(proof.faults)
        return _printed("redis_proof", f"Redis refuses {missing}", is_fault=True)
    return _printed("redis_proof", "proved")


async def _unproved(fence: Fence) -> bool:
    """Print the verdict of the proof of the store; return whether it is a fault."""
    proof = await fence.decided()
    if proof.verdict is Verdict.LEASE:
        return _printed("store_fence", f"lease, a warning: {LEASE_WARNING}")
    is_fault = proof.verdict is not Verdict.PROVED
    line = f"{proof.verdict}: {proof.reason}" if is_fault else str(proof.verdict)
    return _printed("store_fence", line, is_fault=is_fault)


async def _faulty_providers(configuration: Configuration) -> int:
    """Ask every provider at once, print a line for each, and count the faults."""
    limit = configuration.settings.max_image_bytes
    models = configuration.models
    answers = dict.fromkeys(models, "answers")
    async with open_outbound_session() as session:

        async def probe(alias: str) -> None:
            if not await adapter_for(models[alias], session, limit).probe():
                answers[alias] = "configuration ok; it has no call that costs nothing"

        faults = await asyncio.gather(
            *(_fault(partial(probe, alias), PROBE_WITHIN_SECONDS) for alias in models)
        )
    return sum(
        _printed(
            "model",
            f"{alias}: {models[alias].provider}, {fault or answers[alias]}",
            is_fault=fault is not None,
        )
        for alias, fault in zip(models, faults, strict=True)
    )


def _printed(what: str, line: str, *, is_fault: bool = False) -> bool:
    """Print a line, a fault on stderr; return *is_fault*."""
    print(f"{what:14} {line}", file=sys.stderr if is_fault else None)
    return is_fault


async def _fault(ask: Callable[[], Awaitable[None]], seconds: float) -> str | None:
    try:
        async with asyncio.timeout(seconds):
            await ask()
    except TimeoutError:
        return "does not answer"
    except PlaceMissing as error:
        return f"{error.reason} If its name is right: {_MADE_BY}"
    except ServiceError as error:
        return " ".join([error.reason, *_reason(error).split()])
    return None


def _reason(error: Exception) -> str:
    """Return the first of a chain of causes, for an operator's eyes."""
    first = root_of(error)
    return "" if first is error else f"{type(first).__name__}: {first}"
