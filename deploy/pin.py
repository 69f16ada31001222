"""Pin the images that others publish: write their digests into the files that name them.

`make pin` runs this where an image hub is reached, and again to move on to what the tags mean then.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.engine import Engine, EngineFailed

FOLDER = Path(__file__).resolve().parent
FILES = (FOLDER / "Containerfile", FOLDER / "compose.yaml")
PUBLISHED = re.compile(r"(docker\.io/[\w./-]+:[\w.-]+)(?:@sha256:[0-9a-f]{64})?")


def main() -> None:
    """Rewrite the files, or none of them where an image cannot be had."""
    try:
        engine = Engine.find()
        texts = [pinned(path.read_text(), lambda image: latest(engine, image)) for path in FILES]
    except EngineFailed as failure:
        sys.exit(str(failure))
    for path, text in zip(FILES, texts, strict=True):
        path.write_text(text)


def latest(engine: Engine, image: str) -> str:
    """Fetch what a tag means now, and give its digest."""
    engine.pull(image)
    digest = engine.digest(image)
    if digest is None:
        raise EngineFailed(f"{engine.name} knows no digest of {image}")
    print(f"{image}: {digest}")
    return digest


def pinned(text: str, resolve: Callable[[str], str]) -> str:
    """Give every published image in a text the digest that ``resolve`` gives for its tag."""
    return PUBLISHED.sub(lambda found: f"{found[1]}@{resolve(found[1])}", text)


if __name__ == "__main__":
    main()
