"""Ports and terms of a replica in memory, for production's own entry point."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from app import renditions
from app.ports import Ports
from app.prompt_cache import assemble as prompt_cache
from app.spending.assemble import SpendingRules
from app.storage.fence import Fence
from app.storage.ledger_identity import LedgerIdentity
from app.telemetry import Metrics
from app.terms import Terms
from app.transient_images import Limits
from tests.access.fakes import InMemoryAccounts, InMemoryRates
from tests.fake_transient_store import InMemoryTransientStore
from tests.fakes import InMemoryLedgerMemory, InMemoryStatistics

if TYPE_CHECKING:
    from app.access.assemble import AccessRules
    from tests.fakes import World


async def _no_bound() -> int | None:
    return None


def ports_in_memory(world: World, **ports: Any) -> Ports:
    """Return the ports of a replica of *world*; *ports* replaces some of them."""
    in_memory: dict[str, Any] = {
        "store": world.store,
        "index": world.index,
        "completions": world.completions,
        "statistics": InMemoryStatistics(world.projects),
        "generations": world.generations,
        "accounts": InMemoryAccounts(),
        "rates": InMemoryRates(),
        "transient": InMemoryTransientStore(),
        "max_memory": _no_bound,
        "fence": Fence(world.store, metrics=Metrics(), trusts_lease=True),
        "identity": LedgerIdentity(
            world.store, InMemoryLedgerMemory(), name="The bucket", makes=True
        ),
        "pings": {},
    }
    return Ports(**(in_memory | ports))


def terms_in_memory(
    access: AccessRules,
    spending: SpendingRules | None = None,
    *,
    max_image_bytes: int = 100_000,
    quota_bytes: int = 1_000_000,
    **terms: Any,
) -> Terms:
    """Return terms with short times; *terms* replaces some of them."""
    usual: dict[str, Any] = {
        "spending": spending or SpendingRules(),
        "prompts": prompt_cache.Limits(
            lease_for=timedelta(seconds=20),
            generation_timeout=timedelta(seconds=30),
            hot_tier_bytes=1_000_000,
        ),
        "transient": Limits(
            base_url=access.base_url,
            max_image_bytes=max_image_bytes,
            quota_bytes=quota_bytes,
        ),
        "renditions": renditions.Limits(
            lease_for=timedelta(seconds=20), widths=(8, 16, 32, 640), marks=True
        ),
        "wait_timeout_seconds": 20.0,
    }
    return Terms(access=access, **(usual | terms))
