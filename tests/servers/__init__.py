"""Real servers for tests, faults and benchmarks: Redis and object stores.

They listen on 127.0.0.1, keep everything in a given directory, and end with their
context. `TcpProxy` stands in between where the network has to fail.
"""

from tests.servers.child_process import ChildProcess, ProcessFailed, free_port
from tests.servers.conditions_proxy import ConditionsProxy, conditions_proxy
from tests.servers.object_store import (
    STORE_SERVERS,
    S3Server,
    minio_command,
    object_store_server,
    seaweedfs_server,
    versitygw_server,
)
from tests.servers.redis import RedisServer, redis_command, redis_server
from tests.servers.tcp_proxy import TcpProxy

__all__ = [
    "STORE_SERVERS",
    "ChildProcess",
    "ConditionsProxy",
    "ProcessFailed",
    "RedisServer",
    "S3Server",
    "TcpProxy",
    "conditions_proxy",
    "free_port",
    "minio_command",
    "object_store_server",
    "redis_command",
    "redis_server",
    "seaweedfs_server",
    "versitygw_server",
]
