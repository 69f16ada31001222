"""One film in thousands of files, whole and damaged: what of it is read otherwise.

    python -m benchmarks.hostile --films 50

tests/contract asks for the same with fewer files; here the counts are printed by kind.
"""

from collections import Counter

from tests.films.damage import UNTOLD, Finding, examined, untold
from tests.films.film import golden_films, open_default
from tests.films.same import WRITERS, faults

SIDE = 256  # of the films that are damaged


def run(count: int, seed: int) -> list[str]:
    """Write and damage the films that lie nearest to the threshold; return what is wrong.

    Parameters
    ----------
    count
        Damages of each kind, in the header and anywhere, of each encoding and film.
    seed
        Of the damages.
    """
    reader = open_default()
    wrong = []
    for number, film in enumerate(golden_films(reader)):
        for group, writer in WRITERS.items():
            found = list(faults(reader, writer(film)))
            wrong += [fault for fault in found if fault]
            bad = sum(map(bool, found))
            print(f"film {number}, {group}: {len(found):,} files, {bad} read otherwise")
    findings = list(examined(reader, golden_films(reader, SIDE), count, seed))
    report(findings)
    silent = [f for f in findings if f.outcome == "other call" and not untold(f)]
    return wrong + [f"{f.name}; {f.kind}; {f.example}" for f in silent]


def report(findings: list[Finding]) -> None:
    """Print outcomes in all, and silent changes by encoding and damage."""
    total = Counter(finding.outcome for finding in findings)
    print(f"{len(findings):,} damaged files")
    for outcome, number in total.most_common():
        print(f"{number:8,}  {outcome}")
    print("silent, by encoding and damage: other call, other probability")
    calls, moved = (
        Counter((f.name, f.kind) for f in findings if f.outcome == outcome)
        for outcome in ("other call", "other probability")
    )
    for name, kind in sorted(calls.keys() | moved.keys()):
        print(f"{calls[name, kind]:6} {moved[name, kind]:6}  {name}; {kind}")
    for (name, kind), reason in UNTOLD.items():
        print(f"cannot be told: {name}, {kind}: {reason}")
