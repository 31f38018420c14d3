"""The settings, translated once into the bounds and switches of each feature."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from app import renditions, transient_images
from app.access.assemble import AccessRules
from app.http.picture_headers import KEPT_BY_BROWSERS, KEPT_BY_KEYS, Part
from app.prompt_cache import assemble as prompt_cache
from app.spending.assemble import SpendingRules
from app.spending.projects import ProjectRules

if TYPE_CHECKING:
    from pydantic import SecretStr

    from app.settings import Settings

_CACHING_OF_KEYS = {"public": KEPT_BY_KEYS, "private": KEPT_BY_BROWSERS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The bounds and the switches of each feature."""

    access: AccessRules
    spending: SpendingRules
    prompts: prompt_cache.Limits
    transient: transient_images.Limits
    renditions: renditions.Limits
    wait_timeout_seconds: float
    keyed_caching: Part = field(default=KEPT_BY_KEYS)


def terms_of(settings: Settings) -> Terms:
    """Return the bounds and the switches of every feature."""
    ttl_seconds = settings.transient_ttl_seconds
    lease_for = timedelta(seconds=settings.lease_seconds)
    return Terms(
        access=access_rules(settings),
        spending=_spending_rules(settings),
        prompts=prompt_cache.Limits(
            lease_for=lease_for,
            generation_timeout=timedelta(seconds=settings.generation_timeout_seconds),
            hot_tier_bytes=settings.hot_tier_bytes,
        ),
        transient=transient_images.Limits(
            base_url=settings.base_url,
            max_image_bytes=settings.max_image_bytes,
            quota_bytes=settings.transient_quota_bytes,
            total_bytes=settings.transient_total_bytes or None,
            default_ttl=timedelta(seconds=ttl_seconds) if ttl_seconds else None,
            threshold_bytes=settings.image_url_threshold_bytes,
            lease_for=lease_for,
        ),
        renditions=renditions.Limits(
            lease_for=lease_for,
            widths=settings.widths_of_renditions,
            marks=settings.mark_ai_generated == "auto",
        ),
        wait_timeout_seconds=settings.wait_timeout_seconds,
        keyed_caching=_CACHING_OF_KEYS[settings.keyed_cache_control],
    )


def access_rules(settings: Settings) -> AccessRules:
    """Return the rules of access."""
    return AccessRules(
        requires_keys=settings.auth == "required",
        base_url=settings.base_url,
        admin_key=_secret(settings.admin_api_key),
        master_key=_secret(settings.signing_master_key),
        trusted_proxies=settings.trusted_networks,
        allowed_hosts=settings.names_of_hosts,
    )


def _spending_rules(settings: Settings) -> SpendingRules:
    """Return the rules of spending."""
    return SpendingRules(
        defaults=ProjectRules(
            generation=settings.generation == "on",
            budget_per_day=settings.budget_per_day,
            rate_limit_per_minute=settings.rate_limit_per_minute,
        ),
        new_per_address_per_hour=settings.scope_new_per_address_per_hour,
    )


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()
