"""What marks an object as a result of nanocxr: its kind, maker, series and UIDs.

Here nothing is imported that takes time: the node and `cxr deidentify` need no highdicom.
"""

from typing import Literal

Kind = Literal["sr", "sc", "gsps", "seg"]
KINDS: frozenset[Kind] = frozenset({"sr", "sc", "gsps", "seg"})

MANUFACTURER = "nanocxr"
SERIES = "nanocxr RESEARCH"  # what Series Description starts with
UID_ROOT = "2.25."  # PS3.5 B.2: a UUID as one integer
