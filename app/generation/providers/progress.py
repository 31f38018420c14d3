"""Progress bars, as models print them into their logs. Pure."""

from __future__ import annotations

import re

# tqdm's: ` 50%|#####     | 2/4 [00:01<00:01]`. The last one counts.
_BAR = re.compile(r"([0-9]{1,3})%\|")
_LAST_CHARACTERS = 4096


def fraction_in(logs: object) -> float | None:
    """Return how much is done, 0 to 1, by the last bar in *logs*; None without one."""
    if not isinstance(logs, str):
        return None
    bars = _BAR.findall(logs[-_LAST_CHARACTERS:])
    return min(int(bars[-1]), 100) / 100 if bars else None
