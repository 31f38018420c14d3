"""S3 and whatever speaks its protocol: the ledger's store in production.

`client` says how botocore is set up, `reads` holds both ways to get an
object, `streaming` shares them among the readers of large ones, `timeouts` and
`translated_errors` bound every call and give its failure one name; `store` is
the adapter.
"""

from app.storage.s3.store import (
    WRITE_TIMEOUT_SECONDS,
    S3ObjectStore,
    open_s3_object_store,
)

__all__ = ["WRITE_TIMEOUT_SECONDS", "S3ObjectStore", "open_s3_object_store"]
