"""The cost of making a rendition: seconds of one core, and memory.

`python -m benchmarks.drawing` prints the table of docs/explanation/performance.md. Each
line is measured in a process of its own, which has drawn nothing before.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import PIL.Image
from PIL import ImageFilter

from app.generation.provenance import BY_A_MODEL, Mark
from app.renditions.drawing import draw
from app.renditions.rendition import MEDIA_TYPE_OF_FORMAT, PNG, RenditionPlan

# Sides of squares: 1, 4, 16.7 and 50 megapixels.
SIDES = (1024, 2048, 4096, 7071)
# The encoder of AVIF is given no more than 17 megapixels.
TOO_LARGE = {("avif", 7071)}
SMALL = 640


def painted(side: int) -> bytes:
    """Return a PNG like a model's: shapes, gradients and some grain."""
    grain = PIL.Image.effect_noise((side, side), 40).filter(ImageFilter.GaussianBlur(2))
    shapes = PIL.Image.effect_mandelbrot((side, side), (-2, -1.2, 1, 1.2), 40)
    shade = PIL.Image.linear_gradient("L").resize((side, side))
    picture = PIL.Image.merge("RGB", (shapes.convert("L"), grain, shade))
    data = io.BytesIO()
    picture.save(data, "PNG", compress_level=1)
    return data.getvalue()


def measure(name: str, side: int, width: int) -> dict[str, float]:
    """Draw once; return the seconds of a core and the megabytes used."""
    program = [sys.executable, "-m", "benchmarks.drawing", name, str(side), str(width)]
    said = subprocess.run(
        program, input=painted(side), capture_output=True, check=True
    ).stdout
    return dict(json.loads(said))


def draw_once(name: str, width: int, original: bytes) -> dict[str, float]:
    """Draw in this process, which does nothing else."""
    # Linux alone: the highest memory from here on.
    Path("/proc/self/clear_refs").write_text("5")
    before = _kilobytes("VmRSS")
    began = time.process_time()
    plan = RenditionPlan(width, MEDIA_TYPE_OF_FORMAT[name], None)
    draw(original, PNG, plan, Mark(BY_A_MODEL, "openai gpt-image-2"))
    seconds = time.process_time() - began
    return {"seconds": seconds, "megabytes": (_kilobytes("VmHWM") - before) / 1024}


def _kilobytes(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0])


def main() -> None:
    """Print the table."""
    print("| picture | to | format | seconds | megabytes |")
    print("|---|---|---|---|---|")
    for side in SIDES:
        for width in (SMALL, side):
            for name in MEDIA_TYPE_OF_FORMAT:
                if (name, width) in TOO_LARGE:
                    continue
                figures = measure(name, side, width)
                print(
                    f"| {side} x {side} | {width} x {width} | {name} "
                    f"| {figures['seconds']:.2f} | {figures['megabytes']:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        given = sys.stdin.buffer.read()
        print(json.dumps(draw_once(sys.argv[1], int(sys.argv[3]), given)))
    else:
        main()
