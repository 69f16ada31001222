"""The names under which files keep a configuration: those that its keys had first.

A TOML file may have either name. Checkpoints, arms and manifests keep the earlier one, so that runs
and models from before a key was renamed are recognised.
"""

import re
from pathlib import Path
from typing import Any

EARLIER = {
    "channels": "views",
    "drop_channel": "drop_view",
    "lung_detail": "reading",
    "members": "companions",
}
SINCE: dict[str, Any] = {
    "trainings": 1,
    "age_by": (),
    "counts": 1.0,
    "second_view": 0.0,
    "taught_by": (),
}  # keys that were added, and what held without them
TODAY = {earlier: name for name, earlier in EARLIER.items()}


def of_today(value: Any) -> Any:
    """Values of a TOML file, with the keys of today for earlier ones.

    Raises
    ------
    ValueError
        If a table has both names of a key.
    """
    if isinstance(value, list):
        return [of_today(item) for item in value]
    if not isinstance(value, dict):
        return value
    for name, earlier in EARLIER.items():
        if {name, earlier} <= value.keys():
            raise ValueError(f"{name} and {earlier}, its earlier name, are both given")
    return {TODAY.get(key, key): of_today(item) for key, item in value.items()}


def recorded(value: Any) -> Any:
    """JSON values of a configuration as a dictionary, for arms and manifests.

    A key that was added since is left out where it says what held before. Of an absolute path only
    the last part is kept: the rest would tell of this computer.
    """
    if isinstance(value, dict):
        return {
            EARLIER.get(key, key): recorded(item)
            for key, item in value.items()
            if key not in SINCE or SINCE[key] != item
        }
    if isinstance(value, list | tuple):
        return [recorded(item) for item in value]
    if isinstance(value, Path):
        return value.name if value.is_absolute() else value.as_posix()
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value


def recorded_text(config: object) -> str:
    """``repr`` of a configuration, by which a checkpoint knows its own."""
    text = repr(config)
    for name, earlier in EARLIER.items():
        text = text.replace(f" {name}=", f" {earlier}=")
    return text.replace(", taught_by=()", "")  # as it was before that key


def without_folder(text: str) -> str:
    """A recorded text but for where the data set lay, which may have moved since."""
    return re.sub(r"\(folder=.*?, validation=", "(validation=", text, count=1)
