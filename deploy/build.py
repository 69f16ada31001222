"""Build the Bento and its image, and write beside it what it holds and what is known against it.

bentoml build -> image -> SBOM -> audit
`make container` runs this; docs/deploy.md says how.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.advisories import AdvisoriesUnreadable, Snapshot
from deploy.audit import AuditNotClean, audit, no_audit
from deploy.engine import Engine, EngineFailed
from deploy.inventory import Inventory
from deploy.sbom import write_sbom
from service.version import VERSION

ROOT = Path(__file__).resolve().parent.parent
CONTAINERFILE = ROOT / "deploy" / "Containerfile"


def main() -> None:
    """Run the command line; the exit code is not 0 where the audit found something or failed."""
    options = parse()
    variant = "-gpu" if options.gpu else ""
    tag = options.tag or f"nanocxr:{VERSION}{variant}"
    try:
        snapshot = Snapshot.open(options.advisories) if options.advisories else None
        engine = Engine.find()
        for note in engine.adaptation.notes:
            print(f"{engine.name} on this machine: {note}")
        base = options.base or default_base()
        digest = engine.digest(base)
        print(f"base {base}: {digest or f'{engine.name} knows no digest of it'}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            context = stage(Path(folder), build_bento(), f"serve{variant}.lock")
            engine.build(
                context,
                CONTAINERFILE,
                tag,
                arguments={"BASE": by_digest(base, digest)},
                labels=labels(base, digest),
                options=options.option,
            )
        print(f"{tag}, built with {engine.name}: {engine.size(tag)} with its base, uncompressed")
        options.out.mkdir(parents=True, exist_ok=True)
        name = tag.rsplit("/", 1)[-1].replace(":", "-")
        with Inventory.of(engine, tag) as inventory:
            write_sbom(inventory, options.out / f"{name}.cdx.json")
            report = options.out / f"{name}.audit.json"
            if options.no_audit:
                no_audit(tag, report)
            else:
                audit(engine, tag, inventory, report, snapshot)
    except (EngineFailed, AdvisoriesUnreadable, AuditNotClean) as failure:
        sys.exit(str(failure))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", action="store_true", help="with onnxruntime-gpu and CUDA")
    parser.add_argument("--base", help="image with glibc and Python 3.11; by tag or by digest")
    parser.add_argument("--tag", help="name of the image, nanocxr:VERSION if not given")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="for SBOM and audit")
    audits = parser.add_mutually_exclusive_group()
    audits.add_argument("--no-audit", action="store_true", help="ask nobody, and say so in dist/")
    audits.add_argument(
        "--advisories", type=Path, metavar="ZIP", help="OSV's export of PyPI, to ask instead of it"
    )
    parser.add_argument(
        "--option", action="append", default=[], help="option of the engine's build command"
    )
    return parser.parse_args()


def default_base() -> str:
    """Give the base that the Containerfile names."""
    (base,) = re.findall(r"^ARG BASE=(\S+)$", CONTAINERFILE.read_text(), flags=re.M)
    return str(base)


def by_digest(base: str, digest: str | None) -> str:
    """Name an image by its digest, where it has one, so that what is labelled is what is used."""
    return base if digest is None or "@" in base else f"{base}@{digest}"


def build_bento() -> Path:
    """Run ``bentoml build`` and give the Bento's folder in BentoML's store."""
    bentoml = [sys.executable, "-m", "bentoml"]
    environment = os.environ | {"BENTOML_DO_NOT_TRACK": "True"}
    tag = _output([*bentoml, "build", "--output", "tag"], environment).split("__tag__:")[1].strip()
    return Path(_output([*bentoml, "get", tag, "--output", "path"], environment).strip())


def stage(folder: Path, bento: Path, lock: str) -> Path:
    """Put what the Containerfile copies, and nothing else, into a folder."""
    shutil.copytree(bento, folder / "bento", ignore=shutil.ignore_patterns("env"))
    shutil.copy(ROOT / "requirements" / lock, folder / "requirements.lock")
    return folder


def labels(base: str, digest: str | None) -> dict[str, str]:
    """OCI annotations that are not the same for every build."""
    commit = _output(["git", "log", "-1", "--format=%H %cI"], os.environ).split()
    prefix = "org.opencontainers.image"
    known = {
        f"{prefix}.version": VERSION,
        f"{prefix}.revision": commit[0],
        f"{prefix}.created": commit[1],
        f"{prefix}.base.name": base.partition("@")[0],
    }
    return known | ({f"{prefix}.base.digest": digest} if digest else {})


def _output(command: list[str], environment: "os._Environ[str] | dict[str, str]") -> str:
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
