"""Damage never passes silently: the same reading, a refusal, or a warning; prints counts (-rP)."""

from collections import Counter

from tests.films.damage import examined, untold
from tests.films.film import golden_films, open_default

COUNT = 4  # of each kind, in the header and anywhere, of each encoding, of two films
SIDE = 256
UNTOLD_SHARE = 0.015  # of all; the films lie near the threshold, where little changes the call


def test_damage_never_changes_the_call_silently() -> None:
    reader = open_default()
    findings = list(examined(reader, golden_films(reader, SIDE), COUNT, seed=1))
    print(f"{len(findings):,} damaged files: {Counter(f.outcome for f in findings)}")  # noqa: T201
    silent = [f for f in findings if f.outcome == "other call"]
    told = [f for f in silent if not untold(f)]
    print(f"{len(silent)} other calls without a word, {len(told)} of them tellable")  # noqa: T201
    assert len(findings) > 2000
    assert len(silent) < UNTOLD_SHARE * len(findings)
    assert not told, "\n".join(f"{f.name}; {f.kind}; {f.example}" for f in told[:100])
