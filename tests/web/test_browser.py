from __future__ import annotations

import shutil

import pytest

from tests.web.browser import find_chromium


@pytest.mark.parametrize("missing", ["chromium", "chromedriver"])
@pytest.mark.parametrize(
    ("ci", "ends"),
    [("true", pytest.fail.Exception), ("", pytest.skip.Exception)],
)
def test_a_missing_browser_is_never_overlooked(
    monkeypatch: pytest.MonkeyPatch, missing: str, ci: str, ends: type[BaseException]
) -> None:
    """Without Chromium a test fails in continuous integration and else is skipped."""
    monkeypatch.setenv("CI", ci)
    there = {"chromium", "chromedriver"} - {missing}
    monkeypatch.setattr(shutil, "which", lambda name: name if name in there else None)

    with pytest.raises(ends, match=f"{missing} is not on PATH"):
        find_chromium()
