"""Images of others are named by digest once `make pin` could ask a hub."""

import re

from deploy.build import by_digest, default_base, labels
from deploy.pin import FILES, pinned

OLD, NEW = (f"sha256:{letter * 64}" for letter in "ab")


def test_every_published_image_is_found() -> None:
    asked: list[str] = []

    def resolve(image: str) -> str:
        asked.append(image)
        return NEW

    texts = [pinned(path.read_text(), resolve) for path in FILES]
    assert {re.sub(":.*", "", image) for image in asked} == {
        "docker.io/library/python",
        "docker.io/prom/prometheus",
    }
    assert sum(text.count(NEW) for text in texts) == len(asked)


def test_a_new_digest_takes_the_place_of_the_old() -> None:
    text = f"ARG BASE=docker.io/library/python:3.11@{OLD}\nLABEL x\n"
    assert pinned(text, lambda image: NEW) == text.replace(OLD, NEW)


def test_builds_from_what_the_containerfile_names() -> None:
    assert default_base().startswith("docker.io/library/python:3.11-slim-bookworm")


def test_what_is_labelled_is_what_is_used() -> None:
    base = "docker.io/library/python:3.11"
    assert by_digest(base, OLD) == f"{base}@{OLD}"
    assert by_digest(f"{base}@{OLD}", OLD) == f"{base}@{OLD}"
    assert by_digest(base, None) == base
    prefix = "org.opencontainers.image.base"
    found = labels(f"{base}@{OLD}", OLD)
    assert (found[f"{prefix}.name"], found[f"{prefix}.digest"]) == (base, OLD)
    assert f"{prefix}.digest" not in labels(base, None)
