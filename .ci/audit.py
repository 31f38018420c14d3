"""Looks every locked package up in the vulnerability database.

Prints what is vulnerable and fails. An index that is a mere mirror knows no
vulnerabilities, and pip-audit then says that there are none: this says out loud
what has not been looked up, and fails for it where `CI_STRICT_AUDIT=1`.
"""

# ruff: noqa: INP001 - a script that the Makefile calls, no package

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_TIME_LIMIT_SECONDS = 300


def audit(lock: Path) -> list[dict[str, Any]]:
    """Each package of *lock* as pip-audit judged it; none where it can't judge."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip_audit", "-r", str(lock)]
        command += ["--require-hashes", "--disable-pip", "--progress-spinner=off"]
        command += ["--format=json", f"--output={report}"]
        try:
            done = subprocess.run(  # noqa: S603 - our own arguments, no shell
                command,
                capture_output=True,
                check=False,
                text=True,
                timeout=_TIME_LIMIT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            _say("audit: the vulnerability database did not answer in time")
            return []
        if not report.exists() or not report.stat().st_size:
            _say(f"audit: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
            return []
        packages: list[dict[str, Any]] = json.loads(report.read_text())["dependencies"]
        return packages


def main(lock: Path) -> int:
    """Exit status: 1 for a vulnerability, or for a gap where gaps count."""
    packages = audit(lock)
    looked_up = [package for package in packages if "skip_reason" not in package]
    vulnerable = [package for package in looked_up if package["vulns"]]
    for package in vulnerable:
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version yet"
            name = f"{package['name']} {package['version']}"
            _say(f"audit: {name} has {found['id']}; fixed in {fixed}")
    if vulnerable:
        return 1
    if packages and len(looked_up) == len(packages):
        _say(f"audit: {len(looked_up)} packages, no known vulnerability")
        return 0
    known = {package["name"] for package in looked_up}
    missing = [package["name"] for package in packages if package["name"] not in known]
    _say("*" * 72)
    _say(f"NOT AUDITED: {len(missing) or 'all'} packages of {lock}: no data on them")
    _say("*" * 72)
    return int(os.environ.get("CI_STRICT_AUDIT") == "1")


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
