"""Keys of renditions in the object store."""

from __future__ import annotations

import pytest

from app.errors import InvalidStorageKey
from app.storage.storage_key import (
    Project,
    StorageKey,
    rendered_image_id,
    renditions_prefix,
)

SHOP = Project("acme", "shop")
IMAGE_ID = "0b9f7c1e-6f0a-4c7b-9a51-7d2f3c1b8e44"


def test_renditions_lie_in_a_folder_of_their_picture() -> None:
    """Renditions of a picture share a prefix with its id."""
    key = str(StorageKey.of_rendition(SHOP, IMAGE_ID, "640-q80.webp"))
    assert key == f"acme/shop/renditions/{IMAGE_ID}/640-q80.webp"
    assert key.startswith(renditions_prefix(SHOP, IMAGE_ID))
    assert key.startswith(renditions_prefix(SHOP))
    assert rendered_image_id(key) == IMAGE_ID


@pytest.mark.parametrize(
    "key",
    [
        f"acme/shop/generated/{IMAGE_ID}.png",
        f"acme/shop/prompts/{IMAGE_ID}/640.webp",
        f"acme/shop/renditions/{IMAGE_ID}.webp",
        f"acme/shop/renditions/{IMAGE_ID.upper()}/640.webp",
        "acme/shop/renditions/640.webp",
    ],
)
def test_other_keys_belong_to_no_picture(key: str) -> None:
    """A key that is no rendition's has no picture."""
    assert rendered_image_id(key) is None


def test_a_rendition_key_is_no_storage_key() -> None:
    """A rendition's key is no valid storage key for callers."""
    with pytest.raises(InvalidStorageKey):
        StorageKey.parse(f"acme/shop/renditions/{IMAGE_ID}/640.webp")
