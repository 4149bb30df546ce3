"""`make sbom` names every package of our images, with the hashes that the build accepts."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def locked() -> dict[tuple[str, str], set[str]]:
    """The SHA-256 sums of each package that the images install, by name and version."""
    text = (CHECKOUT / "deploy/images/requirements.lock").read_text(encoding="utf-8")
    packages = re.findall(r"^([\w.-]+)==(\S+)(.*\n(?: .*\n)*)", text, re.MULTILINE)
    return {(name, version): set(re.findall(r"--hash=sha256:(\w+)", rest)) for name, version, rest in packages}


def test_the_bill_of_materials_names_each_locked_package_with_its_hashes(tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    command = ["make", "--assume-old=.venv/installed", "sbom", f"SBOM={file}"]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    bill = json.loads(file.read_text(encoding="utf-8"))
    found = {
        (one["name"], one["version"]): {
            sum_["content"]
            for reference in one["externalReferences"]
            for sum_ in reference["hashes"]
            if sum_["alg"] == "SHA-256"
        }
        for one in bill["components"]
    }
    assert found == locked()
    assert all(found.values())
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    root = bill["metadata"]["component"]
    assert (bill["bomFormat"], root["name"], root["version"]) == ("CycloneDX", "escrutinio", project["version"])
