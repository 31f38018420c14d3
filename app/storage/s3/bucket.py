"""The bucket: whether it is there, and making it where that is permitted."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from app.errors import StorageUnavailable
from app.storage.ports.object_store import PlaceMissing
from app.storage.s3.client import DEFAULT_REGION
from app.storage.s3.translated_errors import code_of


async def require_bucket(client: Any, bucket: str) -> None:
    """Return when *bucket* is there; raises `PlaceMissing`, or what botocore does."""
    try:
        await client.head_bucket(Bucket=bucket)
    except ClientError as error:
        theirs, ours = _region_of(error), client.meta.region_name
        if theirs and theirs != ours:
            raise StorageUnavailable(
                "The object store is set up wrongly.",
                reason=f"The bucket {bucket} is in the region {theirs}, not in "
                f"{ours}: set AWS_REGION.",
            ) from error
        # A HEAD has no body, so its code is the status.
        if code_of(error) != "404":
            raise
        raise PlaceMissing(
            "The object store is not there.", reason=f"The bucket {bucket} is missing."
        ) from error


async def make_bucket(client: Any, bucket: str) -> None:
    """Make *bucket*, unless another replica was faster; raises what botocore does."""
    region = client.meta.region_name
    place = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        # S3 wants no constraint where its first region is meant.
        await client.create_bucket(
            Bucket=bucket, **({} if region == DEFAULT_REGION else place)
        )
    except ClientError as error:
        # Another replica was faster.
        if code_of(error) != "BucketAlreadyOwnedByYou":
            raise


def _region_of(error: ClientError) -> str | None:
    """Return the region that the answer names as the bucket's, if it names one."""
    answer: dict[str, Any] = error.response
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region: str | None = headers.get("x-amz-bucket-region")
    return region
