"""compose.yaml agrees with the settings, the files and the other containers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
from botocore.credentials import EnvProvider

from app.generation.config.models_file import load_models
from app.generation.config.vendors import VENDORS
from app.settings import Settings, load_settings
from tests.deploy.shipped_files import (
    MIB,
    ROOT,
    compose,
    longest_grace,
    replicas,
    resolved,
    seconds,
    size,
)

if TYPE_CHECKING:
    import pytest


def test_two_replicas_differ_in_nothing_but_their_name() -> None:
    """Both replicas of compose.yaml have the same definition."""
    first, second = replicas().values()

    assert first == second


def test_every_setting_can_be_set_from_outside() -> None:
    """compose.yaml passes every setting on from `.env` under its own name.

    Exceptions are the listening address and what compose.yaml itself decides.
    """
    own = {"HOST", "PORT", "PROVIDERS_FILE", "REDIS_URL", "TRUSTED_PROXIES"}
    settings = {name.upper() for name in Settings.model_fields} - own
    settings |= {one.key_variable for one in VENDORS.values() if one.key_variable}

    for replica in replicas().values():
        for name in settings:
            passed_on = replica["environment"].get(name, "")
            assert passed_on.startswith(f"${{{name}"), name


def test_every_variable_of_compose_is_documented() -> None:
    """The page about compose names each variable that is not a setting."""
    page = (ROOT / "docs" / "how-to" / "compose.md").read_text()
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text()))
    settings = {name.upper() for name in Settings.model_fields} - {"ADMIN_API_KEY"}
    providers = {one.key_variable for one in VENDORS.values()}

    documented = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    documented |= set(re.findall(r"^(\w+)=\$\(openssl", page, re.MULTILINE))

    assert documented == used - settings - providers


def test_every_variable_of_a_replica_is_used() -> None:
    """Each variable of a replica is a setting, botocore's, or a provider's key."""
    botocore = {
        name
        for _, names, *_ in BOTOCORE_DEFAUT_SESSION_VARIABLES.values()
        if names
        for name in ([names] if isinstance(names, str) else names)
    }
    botocore |= {EnvProvider.ACCESS_KEY, EnvProvider.SECRET_KEY, "AWS_ENDPOINT_URL_S3"}
    providers = {vendor.key_variable for vendor in VENDORS.values()}
    settings = {name.upper() for name in Settings.model_fields}

    for replica in replicas().values():
        assert set(replica["environment"]) <= settings | botocore | providers


def test_the_settings_of_a_replica_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """With only the two secrets set, the service accepts its environment."""
    replica = next(iter(replicas().values()))
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in replica["environment"].items():
        monkeypatch.setenv(name, resolved(value))

    settings = load_settings()

    assert settings.auth == "required"
    assert settings.redis_url
    assert settings.s3_bucket == "paintonce"


def test_no_secret_stands_in_the_compose_file() -> None:
    """Every key and password of compose.yaml comes from `.env` and is required."""
    outside = r"\$\{\w+:\?[^}]+\}"
    for service in compose()["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"SECRET|PASSWORD|ADMIN_API_KEY|_AUTH$", name):
                assert re.fullmatch(outside, value), name
    for replica in replicas().values():
        assert re.fullmatch(
            rf"redis://:{outside}@.+", replica["environment"]["REDIS_URL"]
        )


def test_the_stores_need_passwords() -> None:
    """Redis has a password, and replicas do not use the store's root account."""
    services = compose()["services"]
    command = services["redis"]["command"]
    replica = next(iter(replicas().values()))["environment"]
    root = services["object-store"]["environment"]

    assert "${REDIS_PASSWORD" in command[command.index("--requirepass") + 1]
    assert replica["AWS_ACCESS_KEY_ID"] != root["MINIO_ROOT_USER"]
    assert replica["AWS_SECRET_ACCESS_KEY"] != root["MINIO_ROOT_PASSWORD"]
    account = services["object-store-account"]["environment"]
    assert account["ACCOUNT"] == replica["AWS_ACCESS_KEY_ID"]
    assert account["ACCOUNT_PASSWORD"] == replica["AWS_SECRET_ACCESS_KEY"]
    assert account["BUCKET"] == replica["S3_BUCKET"]
    assert "AWS_ACCESS_KEY_ID" not in account


def test_every_container_has_a_bound_on_its_memory() -> None:
    """Every container has a memory limit of at least 256 MiB."""
    for name, service in compose()["services"].items():
        assert size(service["mem_limit"]) >= 256 * MIB, name


def test_transient_images_leave_redis_room_for_leases() -> None:
    """The quotas of transient images fill at most half of Redis's memory."""
    redis = compose()["services"]["redis"]
    replica = next(iter(replicas().values()))["environment"]
    memory = size(redis["command"][redis["command"].index("--maxmemory") + 1])

    assert int(resolved(replica["TRANSIENT_TOTAL_BYTES"])) <= memory / 2
    assert size(redis["mem_limit"]) >= 2 * memory


def test_only_nginx_is_believed_about_addresses() -> None:
    """The trusted proxies are the network that only nginx and the replicas share."""
    parsed = compose()
    (subnet,) = parsed["networks"]["front"]["ipam"]["config"]
    inside = {
        name for name, one in parsed["services"].items() if "front" in one["networks"]
    }

    assert inside == {"nginx", *replicas()}
    for replica in replicas().values():
        assert replica["environment"]["TRUSTED_PROXIES"] == subnet["subnet"]


def test_the_addresses_of_the_compose_file_lead_to_its_services() -> None:
    """Replicas reach Redis and the store by service name in a shared network."""
    parsed = compose()
    replica = next(iter(replicas().values()))

    for name in ("REDIS_URL", "AWS_ENDPOINT_URL_S3"):
        host = urlsplit(resolved(replica["environment"][name])).hostname
        assert set(parsed["services"][host]["networks"]) & set(replica["networks"])
        assert "healthcheck" in parsed["services"][host]
    healthy = {"condition": "service_healthy"}
    assert replica["depends_on"]["redis"] == healthy
    done = {"condition": "service_completed_successfully"}
    assert replica["depends_on"]["object-store-account"] == done
    account = parsed["services"]["object-store-account"]
    assert account["depends_on"]["object-store"] == healthy


def test_the_stores_are_out_of_reach_from_outside() -> None:
    """Only nginx publishes a port; Redis and the store are in an internal network."""
    parsed = compose()
    published = {name for name, one in parsed["services"].items() if "ports" in one}

    assert published == {"nginx"}
    for name in ("redis", "object-store", "object-store-account"):
        assert parsed["services"][name]["networks"] == ["back"]
    assert parsed["networks"]["back"]["internal"] is True


def test_a_container_outlives_its_own_grace() -> None:
    """Docker kills a replica at least a second after its grace has passed."""
    for replica in replicas().values():
        assert resolved(replica["environment"]["SHUTDOWN_GRACE_SECONDS"]) == "auto"
        grace = longest_grace()
        assert seconds(resolved(replica["stop_grace_period"])) > grace + 1


def test_every_mounted_file_is_there() -> None:
    """Every file that compose.yaml mounts exists and is mounted read-only."""
    mounts = [
        mount
        for service in compose()["services"].values()
        for mount in service.get("volumes", [])
        if mount.startswith("./")
    ]

    assert mounts
    for mount in mounts:
        path, _, mode = mount.split(":")
        assert (ROOT / path).is_file()
        assert mode == "ro"


def test_the_models_file_is_mounted_where_the_setting_says() -> None:
    """`PROVIDERS_FILE` names a mounted file that has a default model."""
    replica = next(iter(replicas().values()))
    inside = {mount.split(":")[1]: mount.split(":")[0] for mount in replica["volumes"]}

    models = load_models(ROOT / inside[replica["environment"]["PROVIDERS_FILE"]], {})

    assert "default" in models


def test_redis_never_evicts_and_survives_a_restart() -> None:
    """Redis evicts nothing and keeps its data over a restart."""
    command = compose()["services"]["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))

    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendonly"] == "yes"


def test_redis_is_no_version_with_known_holes() -> None:
    """The Redis image is at least the release of September 2026."""
    image = compose()["services"]["redis"]["image"]

    version = tuple(int(part) for part in re.findall(r"\d+", image)[:3])

    assert version >= (8, 6, 7)


def test_every_image_is_pinned() -> None:
    """Every image of another project has a fixed version."""
    for name, service in compose()["services"].items():
        if "build" not in service:
            assert re.search(r":(RELEASE\.)?\d+[.-]\d+", service["image"]), name


def test_every_container_is_confined() -> None:
    """Every service drops all capabilities and has a read-only root."""
    for service in compose()["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True
