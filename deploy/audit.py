"""What is known against the packages of an image: advisories of PyPI, updates of Debian.

A source that cannot be asked, or a package that it does not know, fails the audit: silence is not
a clean bill.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from deploy.engine import Engine, EngineFailed
from deploy.inventory import Inventory

# As root and on the network, for this throwaway container alone; the image itself is not changed.
UPDATES = """
apt-get update --quiet=2 --error-on=any >&2 || exit 2
apt-get --simulate upgrade | sed --quiet 's/^Inst //p'
"""


class AuditNotClean(Exception):
    """Something is known against the image, or could not be asked."""


def audit(engine: Engine, tag: str, inventory: Inventory, path: Path) -> None:
    """Write the audit of an image to ``path``.

    Raises
    ------
    AuditNotClean
        If a vulnerability or an update is known, or if a source could not be asked. The report
        is written first.
    """
    report: dict[str, Any] = {"image": tag, "problems": []}
    report["python"] = python(inventory, report["problems"])
    if inventory.debian:
        report["debian"] = debian(engine, tag, report["problems"])
    path.write_text(json.dumps(report, indent=2))
    print(f"{path}: audit")
    if report["problems"]:
        problems = "\n- ".join(report["problems"])
        raise AuditNotClean(f"The image is built, but its audit is not clean:\n- {problems}")


def python(inventory: Inventory, problems: list[str]) -> list[dict[str, Any]]:
    """Ask PyPI for the advisories of every Python distribution, through pip-audit."""
    command = [sys.executable, "-m", "pip_audit", "--path", str(inventory.site_packages)]
    command += ["--vulnerability-service", "pypi", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.stdout.startswith("{"):
        problems.append(f"pip-audit could not ask PyPI for advisories:\n{done.stderr[-2000:]}")
        return []
    found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    problems += python_problems(found)
    return found


def python_problems(found: list[dict[str, Any]]) -> list[str]:
    """What is known against distributions; pip-audit counts those it skipped as clean."""
    skipped = [entry["name"] for entry in found if "skip_reason" in entry]
    known = [(entry, advisory) for entry in found for advisory in entry.get("vulns", ())]
    return [
        f"{entry['name']} {entry['version']}: {advisory['id']}, fixed in {advisory['fix_versions']}"
        for entry, advisory in known
    ] + [f"PyPI gave no advisories for {len(skipped)} of {len(found)}: {skipped}"] * bool(skipped)


def debian(engine: Engine, tag: str, problems: list[str]) -> list[str] | None:
    """Ask Debian's archive for updates of the base, security fixes among them."""
    try:
        updates = engine.output(tag, UPDATES, options=("--user", "0")).decode().splitlines()
    except EngineFailed:
        problems.append("apt could not ask Debian's archive for updates; its words are above")
        return None
    problems += [f"Debian has an update: {line}" for line in updates]
    return updates
