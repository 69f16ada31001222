"""Write the requirements of the images with the hash of every file that may be installed.

requirements/serve.txt -> requirements/serve.lock, requirements/serve-gpu.lock
`make lock` runs this after a change of serve.txt.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
# onnxruntime-gpu and onnxruntime are released apart, so their versions can differ.
GPU = "onnxruntime-gpu[cuda,cudnn]>=1.23"


def main() -> None:
    """Write both files."""
    serve = (REQUIREMENTS / "serve.txt").read_text()
    write(serve, REQUIREMENTS / "serve.lock")
    write(re.sub(r"^onnxruntime==.*$", GPU, serve, flags=re.M), REQUIREMENTS / "serve-gpu.lock")


def write(requirements: str, path: Path) -> None:
    """Resolve for the image's Python on the glibc of Debian 12, and write pins and hashes."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as source:
        source.write(requirements)
        source.flush()
        command = [sys.executable, "-m", "uv", "pip", "compile", source.name, "--quiet"]
        command += ["--generate-hashes", "--only-binary", ":all:", "--no-header", "--no-annotate"]
        command += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_36"]
        subprocess.run([*command, "--output-file", str(path)], check=True)


if __name__ == "__main__":
    main()
