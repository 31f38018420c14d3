"""The capabilities of an A1111 server, whatever checkpoint it has loaded."""

from __future__ import annotations

from app.generation.capabilities import ALL_SEEDS, Endpoint, SizeBounds

# Checkpoints since SDXL are trained on a megapixel, and paint heads without
# bodies in a tenth of it. `img2img` has a list of pictures, and uses the first.
SERVER = Endpoint(
    source=(
        "AUTOMATIC1111 modules/api/models.py, and stable-diffusion.cpp "
        "examples/server/api.md, 2026-11-29"
    ),
    references="one",
    reference_field="init_images",
    reference_list=True,
    mask_field="mask",
    shape="width_height",
    bounds=SizeBounds(min_pixels=655_360, usual_pixels=1024 * 1024, step=8),
    max_seed=ALL_SEEDS,
    options={"negative_prompt": "negative_prompt"},
)
