"""Transient images: a picture is lent an address, and the address taken back.

An outside image provider wants a URL where it can fetch a picture, as often
and as late as it likes. So a picture lives until its owner deletes
it, or until the time it was given is up; it is never evicted to make room for
another. `store` keeps the pictures, `reference_pictures` and
`references` read those that paintings refer to, `lending` gives a provider
addresses of them; `delivery` is for callers of the service.
"""

from app.client import LentImage
from app.transient_images.assemble import Limits, TransientParts, assemble
from app.transient_images.data_url import (
    DataUrl,
    InvalidDataUrl,
    is_data_url,
    read_data_url,
)
from app.transient_images.delivery import UploadFailed, upload_image_for_url
from app.transient_images.images import (
    ListedImage,
    OpenImage,
    TransientImage,
    TransientListing,
)
from app.transient_images.memory import warn_unless_bounded
from app.transient_images.reachability import is_reachable
from app.transient_images.references import References
from app.transient_images.store import TransientImages
from app.transient_images.threshold import should_use_image_url

__all__ = [
    "DataUrl",
    "InvalidDataUrl",
    "LentImage",
    "Limits",
    "ListedImage",
    "OpenImage",
    "References",
    "TransientImage",
    "TransientImages",
    "TransientListing",
    "TransientParts",
    "UploadFailed",
    "assemble",
    "is_data_url",
    "is_reachable",
    "read_data_url",
    "should_use_image_url",
    "upload_image_for_url",
    "warn_unless_bounded",
]
