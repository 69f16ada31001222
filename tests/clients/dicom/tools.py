"""Programs of others that judge DICOM objects; no test passes unseen where there are none."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REQUIRE = "NANOCXR_REQUIRE_DICOM_TOOLS"
PACKAGES = {
    "dciodvfy": "dicom3tools", "dcentvfy": "dicom3tools", "java": "default-jre-headless",
    "dsrdump": "dcmtk", "dcmj2pnm": "dcmtk", "dcmp2pgm": "dcmtk", "storescu": "dcmtk",
    "Orthanc": "orthanc", "strace": "strace",
}  # fmt: skip
JARS = tuple(Path("/usr/share/java") / name for name in ("pixelmed.jar", "commons-codec.jar"))


def tool(name: str) -> str:
    """Path of a program; where there is none, skip, or fail if it is required."""
    found = shutil.which(name)
    return found or _missing(name, PACKAGES[name])


def verified(file: Path) -> list[str]:
    """Errors that dciodvfy (David Clunie) finds in an object."""
    done = _run(tool("dciodvfy"), str(file))
    assert done.stderr, f"dciodvfy says nothing of {file}"
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]


def dumped(file: Path) -> str:
    """A structured report as dsrdump (DCMTK) reads it."""
    done = _run(tool("dsrdump"), "--print-all-codes", "--print-long-values", str(file))
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(file: Path, picture: Path, *options: str) -> None:
    """Write a picture of an image object by dcmj2pnm (DCMTK)."""
    done = _run(tool("dcmj2pnm"), *options, str(file), str(picture))
    assert done.returncode == 0, done.stderr


def presented(film: Path, state: Path, picture: Path) -> None:
    """Write a picture of a film as a presentation state shows it, by dcmp2pgm (DCMTK)."""
    done = _run(tool("dcmp2pgm"), "--pstate", str(state), str(film), str(picture))
    assert done.returncode == 0, done.stderr


def validated(file: Path) -> list[str]:
    """Errors that PixelMed's validator finds in a structured report, template by template."""
    java = tool("java")
    if not all(jar.exists() for jar in JARS):
        _missing("PixelMed's validator", "libpixelmed-java")
    done = _run(
        java,
        # The style sheets of the validator are larger than Java's defaults let them be.
        *(
            f"-Djdk.xml.{bound}=0"
            for bound in ("xpathTotalOpLimit", "xpathExprOpLimit", "xpathExprGrpLimit")
        ),
        "-XX:ActiveProcessorCount=1",
        "-XX:TieredStopAtLevel=1",  # half of the time for a run of seconds
        "-cp",
        ":".join(map(str, JARS)),
        "com.pixelmed.validate.DicomSRValidator",
        str(file),
    )
    said = (done.stdout + done.stderr).splitlines()
    assert any("Root Template Validation Complete" in line for line in said), said
    return [line for line in said if line.startswith("Error")]


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def _missing(name: str, package: str) -> str:
    text = f"No {name}. Debian has it: apt-get install {package}."
    if os.environ.get(REQUIRE):
        pytest.fail(text, pytrace=False)
    pytest.skip(f"{text} {REQUIRE}=1 makes this a failure.")
