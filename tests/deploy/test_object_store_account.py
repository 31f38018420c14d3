"""The store account that compose.yaml makes for the replicas, at a real store."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore.exceptions import ClientError

from tests.deploy.shipped_files import ROOT
from tests.servers import minio_command, object_store_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import S3Server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run a store for this module, whose root is `paintonce-tests`."""
    client = minio_command("mc")
    # There is a file manager of the same name.
    if not client or b"MinIO" not in subprocess.check_output([client, "--version"]):
        pytest.skip("MinIO's client mc is not installed")
    if not minio_command():
        pytest.skip("MinIO is not installed")
    with object_store_server(tmp_path_factory.mktemp("store")) as server:
        yield server


def _make_account(store: S3Server, folder: Path, password: str) -> None:
    subprocess.run(
        ["/bin/sh", str(ROOT / "deploy" / "object-store-account.sh")],
        check=True,
        env={
            "PATH": f"{Path(minio_command('mc') or '').parent}:{os.defpath}",
            "TMPDIR": str(folder),
            "STORE_URL": store.endpoint,
            "ROOT_USER": store.access_key,
            "ROOT_PASSWORD": store.secret_key,
            "BUCKET": "pictures",
            "ACCOUNT": "painter",
            "ACCOUNT_PASSWORD": password,
        },
        timeout=60,
    )


def _client(store: S3Server, user: str, password: str) -> Any:
    return botocore.session.get_session().create_client(
        "s3",
        aws_access_key_id=user,
        aws_secret_access_key=password,
        endpoint_url=store.endpoint,
        region_name="us-east-1",
    )


def test_the_replicas_account_reaches_its_bucket_and_nothing_else(
    store: S3Server, tmp_path: Path
) -> None:
    """The replicas' account may use its bucket and nothing else in the store."""
    root = _client(store, store.access_key, store.secret_key)
    root.create_bucket(Bucket="other-tenant")
    _make_account(store, tmp_path, "a-lighthouse")
    painter = _client(store, "painter", "a-lighthouse")

    painter.head_bucket(Bucket="pictures")
    painter.put_object(Bucket="pictures", Key="fox", Body=b"red", IfNoneMatch="*")
    read = painter.get_object(Bucket="pictures", Key="fox", Range="bytes=0-1")
    listed = painter.list_objects_v2(Bucket="pictures")["Contents"]
    painter.delete_object(Bucket="pictures", Key="fox")

    assert read["Body"].read() == b"re"
    assert "fox" in [line["Key"] for line in listed]
    for call, bucket in (
        ("create_bucket", "another"),
        ("delete_bucket", "pictures"),
        ("list_objects_v2", "other-tenant"),
        ("delete_bucket", "other-tenant"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            getattr(painter, call)(Bucket=bucket)
    with pytest.raises(ClientError, match="AccessDenied"):
        painter.put_object(Bucket="other-tenant", Key="fox", Body=b"")


def test_the_account_may_be_made_again_with_another_password(
    store: S3Server, tmp_path: Path
) -> None:
    """A second run changes the password and keeps the stored objects."""
    _make_account(store, tmp_path, "a-lighthouse")
    _client(store, "painter", "a-lighthouse").put_object(
        Bucket="pictures", Key="whale", Body=b"blue"
    )

    _make_account(store, tmp_path, "in-a-storm")

    kept = _client(store, "painter", "in-a-storm").get_object(
        Bucket="pictures", Key="whale"
    )
    assert kept["Body"].read() == b"blue"
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        _client(store, "painter", "a-lighthouse").get_object(
            Bucket="pictures", Key="whale"
        )
