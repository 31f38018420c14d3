"""Every form of `REDIS_URL`, and the problems of any other."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection
from redis.crc import key_slot

from app.configuration import load_configuration
from app.settings import InvalidSettings
from app.storage.redis import keys
from app.storage.redis.client.address import RedisAddress, Topology, parse_address
from app.storage.redis.client.clients import ClusterClient, open_client

PASSWORD = "p@ss/w:rd?#%"
ENCODED = "p%40ss%2Fw%3Ard%3F%23%25"
SENTINEL_WITH_PASSWORDS = (
    f"redis+sentinel://anna%40shop:{ENCODED}@one/my%20pictures"
    f"?sentinel_username=guard&sentinel_password={ENCODED}"
)
AS_ANNA = {"username": "anna@shop", "password": PASSWORD}


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://cache", RedisAddress(hosts=(("cache", 6379),))),
        ("redis://cache:7000/", RedisAddress(hosts=(("cache", 7000),))),
        ("redis://[::1]:7000/3", RedisAddress(hosts=(("::1", 7000),), database=3)),
        ("redis://cache?db=3", RedisAddress(hosts=(("cache", 6379),), database=3)),
        (
            f"redis://anna%40shop:{ENCODED}@cache",
            RedisAddress(hosts=(("cache", 6379),), credentials=AS_ANNA),
        ),
        (
            f"redis://:{ENCODED}@cache",
            RedisAddress(hosts=(("cache", 6379),), credentials={"password": PASSWORD}),
        ),
        ("rediss://cache", RedisAddress(hosts=(("cache", 6379),), tls={})),
        (
            "rediss://cache?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=false",
            RedisAddress(
                hosts=(("cache", 6379),),
                tls={"ssl_ca_certs": "/etc/ca.pem", "ssl_check_hostname": False},
            ),
        ),
        ("unix:///run/redis.sock", RedisAddress(path="/run/redis.sock")),
        (
            f"unix://anna%40shop:{ENCODED}@/run/a%20redis.sock?db=2",
            RedisAddress(path="/run/a redis.sock", database=2, credentials=AS_ANNA),
        ),
        (
            "redis+sentinel://one,two:7000,[::1]/pictures/4",
            RedisAddress(
                topology=Topology.SENTINEL,
                hosts=(("one", 26_379), ("two", 7000), ("::1", 26_379)),
                service="pictures",
                database=4,
            ),
        ),
        (
            SENTINEL_WITH_PASSWORDS,
            RedisAddress(
                topology=Topology.SENTINEL,
                hosts=(("one", 26_379),),
                service="my pictures",
                credentials=AS_ANNA,
                sentinel_credentials={"username": "guard", "password": PASSWORD},
            ),
        ),
        (
            f"rediss+cluster://anna%40shop:{ENCODED}@one,two:7000/0",
            RedisAddress(
                topology=Topology.CLUSTER,
                hosts=(("one", 6379), ("two", 7000)),
                credentials=AS_ANNA,
                tls={},
            ),
        ),
    ],
)
def test_every_form_is_understood(url: str, address: RedisAddress) -> None:
    """REDIS_URL may name a server, a socket, Sentinel or a Cluster."""
    assert parse_address(url) == address


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "scheme"),
        ("cache:6379", "scheme"),
        ("http://cache", "scheme"),
        ("redis+ring://cache", "scheme"),
        ("unix+sentinel:///a/b", "scheme"),
        ("redis://", "host"),
        ("redis:///1", "host"),
        ("redis://user:secret@", "host"),
        ("redis://ca che", "host"),
        ("redis://cache:", "host"),
        ("redis://cache:secret", "host"),
        ("redis+cluster://one,,two", "host"),
        ("redis+cluster://one,", "host"),
        ("redis://[::1", "no address"),
        ("redis://cache:0", "port"),
        ("redis://cache:65536", "port"),
        ("redis://one,two", "several"),
        ("redis://cache/pictures", "database"),
        ("redis://cache/-1", "database"),
        ("redis://cache/1/2", "database"),
        ("redis://cache?db=x", "database"),
        ("redis://user:sec/ret@cache", "percent-encoded"),
        ("redis://user:sec#ret@cache", "percent-encoded"),
        ("redis://cache?socket_timeout=9", "option"),
        ("redis://cache?ssl_ca_certs=/ca.pem", "rediss"),
        ("rediss://cache?ssl_check_hostname=maybe", "option"),
        ("unix://", "path"),
        ("unix://run/redis.sock", "path"),
        ("redis+sentinel://one", "service"),
        ("redis+sentinel://one//1", "service"),
        ("redis+sentinel://one/pictures/x", "database"),
        ("redis+cluster://one/1", "Cluster"),
    ],
)
def test_any_other_form_is_a_problem_that_quotes_nothing(
    url: str, problem: str
) -> None:
    """A bad REDIS_URL is a problem that does not quote it."""
    with pytest.raises(ValueError, match=problem) as refused:
        parse_address(url)

    assert "sec" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_problem_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad REDIS_URL is reported with all other problems."""
    monkeypatch.setenv("REDIS_URL", "redis+sentinel://one")
    monkeypatch.setenv("AUTH", "off")
    monkeypatch.delenv("S3_BUCKET", raising=False)

    with pytest.raises(InvalidSettings) as refused:
        load_configuration()

    assert [one.partition(":")[0] for one in refused.value.problems] == [
        "REDIS_URL",
        "S3_BUCKET",
    ]


def test_an_address_shows_no_password() -> None:
    """The repr of an address has no password."""
    address = parse_address(SENTINEL_WITH_PASSWORDS)

    assert PASSWORD not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "rediss://anna:a%20key@cache/3",
        "rediss+sentinel://anna:a%20key@one,two/pictures/3?sentinel_password=guard",
        "rediss+cluster://anna:a%20key@127.0.0.1,127.0.0.2",
    ],
)
async def test_clients_are_made_as_the_address_says(url: str) -> None:
    """Each kind of client has the address's credentials, TLS and bounds."""
    async with open_client(
        parse_address(url), name="test", timeout_seconds=0.7, max_connections=5
    ) as client:
        if isinstance(client, ClusterClient):
            (node, _) = client.nodes_manager.startup_nodes.values()
            used = node.connection_kwargs
            assert issubclass(node.connection_class, SSLConnection)
            assert node.max_connections == 5
        else:
            assert isinstance(client, Redis)
            pool = client.connection_pool
            used = pool.connection_kwargs
            assert issubclass(pool.connection_class, SSLConnection)
            assert pool.max_connections == 5
            assert used["db"] == 3

    assert (used["username"], used["password"]) == ("anna", "a key")
    assert used["socket_timeout"] == 0.7
    assert used["client_name"] == "paintonce-test"


def test_the_keys_of_each_script_share_a_slot() -> None:
    """All keys of a script have the same Cluster slot."""
    prompt_hash, project, image = "ab" * 32, "acme/shop", "an-image"
    together = [
        [
            *keys.entry_and_hits(prompt_hash),
            keys.lease(prompt_hash),
            keys.failure(prompt_hash),
        ],
        [
            *(key(project) for key in (keys.statistics, keys.by_recency, keys.by_hits)),
            keys.batch(project, "a-replica"),
        ],
        list(keys.TRANSIENT_ACCOUNTS),
        [keys.transient_bytes(image)],
    ]

    for names in together:
        assert len({key_slot(name.encode()) for name in names}) == 1
