"""The ledger moves from one object store to another, as the how-to describes."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from tests.faults.installation import installation
from tests.replica import ROOT
from tests.servers import minio_command, versitygw_server
from tests.test_commands import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import S3Server

PAGE = ROOT / "docs" / "how-to" / "choose-a-store.md"
PROMPTS = ["a fox", "an owl", "a lighthouse in a storm"]


def commands(program: str) -> list[list[str]]:
    """Return the lines of the page's blocks that begin with *program*, split."""
    section = PAGE.read_text().partition("## Move a ledger")[2]
    blocks = re.findall(r"^```text\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).splitlines()
    return [line.split() for line in lines if line.startswith(f"{program} ")]


def mirrored(old: S3Server, new: S3Server, bucket: str, folder: Path) -> None:
    """Run the page's commands of MinIO's client from *old* to *new*."""
    client = minio_command("mc")
    assert client is not None
    names = {
        f"MC_HOST_{name}": (
            f"http://{store.access_key}:{store.secret_key}"
            f"@{store.endpoint.removeprefix('http://')}"
        )
        for name, store in (("old", old), ("new", new))
    }
    asked = commands("mc")
    assert [line[1] for line in asked] == ["mb", "mirror", "diff"]
    for _, *arguments in asked:
        done = subprocess.run(
            [client, *(part.replace("pictures", bucket) for part in arguments)],
            env={"HOME": str(folder), "PATH": os.environ["PATH"], **names},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    # The last one is `mc diff`, which names what differs.
    assert done.stdout == ""


@pytest.mark.long
async def test_a_ledger_moves_to_another_store(
    s3_server: S3Server, tmp_path: Path
) -> None:
    """After the move every picture is a HIT with the same bytes, without a payment."""
    if s3_server.kind != "minio" or not (
        minio_command("mc") and minio_command("versitygw")
    ):
        pytest.skip("MinIO, mc and versitygw are not built")
    async with installation(tmp_path, s3_server, replicas=1) as place:
        (old,) = place.replicas
        painted = {one: await place.get(one, old) for one in PROMPTS}
        paths = [got.headers["Content-Location"] for got in painted.values()]
        assert await old.stop() == 0

        with versitygw_server(tmp_path / "versitygw") as store:
            await asyncio.to_thread(
                mirrored, s3_server, store, place.bucket, tmp_path / "mc"
            )
            environment = place.environment | store.environment()
            await place.seen_redis.flushall()
            for _, _, _, command in commands("python"):
                ended = await asyncio.to_thread(
                    run, command, folder=tmp_path, environment=environment
                )
                assert ended.returncode == 0, ended.stderr
            assert f"{len(PROMPTS)} restored" in ended.stdout
            (new,) = await place.start(AWS_ENDPOINT_URL_S3=store.endpoint)
            for prompt, before in painted.items():
                after = await place.get(prompt, new)
                assert after.cache == "HIT"
                assert after.body == before.body
            for path, before in zip(paths, painted.values(), strict=True):
                picture = await place.clients.call("GET", f"{new.url}{path}")
                assert sha256(picture.body).digest() == sha256(before.body).digest()
                assert picture.headers["Content-Type"] == before.headers["Content-Type"]
            assert await place.provider.all_calls() == dict.fromkeys(PROMPTS, 1)
            assert await new.stop() == 0
