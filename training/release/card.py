"""The model card: Markdown that travels with the weights.

Mitchell et al. 2019, "Model cards for model reporting" (arXiv 1810.03993).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.findings.calibration import BINS
from service.model.manifest import Manifest
from training.release.card_text import (
    BY_HEADER,
    BY_PIXELS,
    CARD,
    FOR_ALL,
    FOR_CHILDREN,
    LUNG_DETAIL,
    MEMBERS,
    PHOTOGRAPHED,
    PHOTOGRAPHS,
    USE_OF_REAL_IMAGES,
)
from training.release.measures import Interval

REFUSALS = "## What it refuses"

# Measures of models that were packaged before their names told the bins.
UNTOLD = {"expected calibration error": "expected calibration error, 10 bins"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Remarks:
    """What only people and real radiographs can add to a card.

    Attributes
    ----------
    real
        Measures on real radiographs as `cxr evaluate --by source --json` writes them (``run`` and
        ``groups`` are read), or None.
    failures
        Markdown on known failures, or "".
    """

    real: Mapping[str, Any] | None = None
    failures: str = ""

    @classmethod
    def read(cls, measures: Path | None, failures: Path | None) -> "Remarks":
        """Read the files; each may be left out.

        Raises ValueError where measures do not say how they were made.
        """
        return cls(
            real=None if measures is None else _read_measures(measures),
            failures="" if failures is None else failures.read_text(encoding="utf-8").strip(),
        )

    def check(self, manifest: Manifest) -> None:
        """Raise ValueError where measures are not those of the model of ``manifest`` as it ships.

        The measures name the model whose scores they are of, and a site's calibration that made
        their probabilities, by SHA-256.
        """
        if self.real is None:
            return
        own, run = manifest.identity, self.real["run"]
        other = None if run["model"] is None else run["model"]["sha256"]
        if other != own.sha256:
            named = f"of the model with SHA-256 {other:.12}" if other else "of no named model"
            raise ValueError(
                f"the measures are {named}, not of {own} ({own.sha256:.12}); score the images "
                "with this model, and give what `cxr evaluate --json` writes of that"
            )
        if run["calibration"] is not None:
            raise ValueError(
                f"the measures are of a site's calibration (SHA-256 {run['calibration']:.12}), "
                f"which {own} does not ship with; score the images without --calibration, and give "
                "what `cxr evaluate --json` writes of that"
            )


NO_REMARKS = Remarks()


def _read_measures(file: Path) -> Mapping[str, Any]:
    found: Any = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(found, dict) and {"run", "groups"} <= found.keys():
        return found
    raise ValueError(
        f"{file} does not say which scores its measures are of: write it anew with "
        "`cxr evaluate --json` of this version"
    )


def model_card(manifest: Manifest, remarks: Remarks) -> str:
    """Fill in the card.

    Parameters
    ----------
    manifest
        With the provenance that ``training.release.package`` records.
    remarks
        What stands beside them.
    """
    facts = manifest.provenance
    bias = manifest.calibration.bias
    return CARD.format(
        name=manifest.name,
        version=manifest.version,
        network=_whole(facts),
        init=_starts(facts),
        also=PHOTOGRAPHS if PHOTOGRAPHED in _starts(facts) else "",
        graph=manifest.graph,
        precision=manifest.precision,
        size=manifest.input.size,
        crop=manifest.input.crop,
        equalised=", grey values equalised" if manifest.input.equalise else "",
        temperature=manifest.calibration.temperature,
        bias=f" + {bias:.4f}" if bias else "",
        parts=_parts(facts),
        generators=_generators(facts["dataset"]),
        seed=facts["seed"],
        counts=_counts(facts["dataset"]["splits"]),
        default=manifest.default_operating_point,
        measures=_table(
            ("measure", "value"),
            [
                (UNTOLD.get(name, name), Interval(**values))
                for name, values in facts["validation"].items()
            ],
        ),
        real="" if remarks.real is None else _real(remarks.real["groups"]),
        failures=f"\n## Known failures\n\n{remarks.failures}\n" if remarks.failures else "",
        refusals=_refusals(manifest),
        nll_before=facts["calibration"]["nll_before"],
        nll_after=facts["calibration"]["nll_after"],
        points=_table(
            ("operating point", "threshold", "sensitivity", "specificity"),
            [
                (p.name, f"{p.threshold:.4f}", f"{p.sensitivity:.3f}", f"{p.specificity:.3f}")
                for p in manifest.operating_points
            ],
        ),
    )


def _whole(facts: Mapping[str, Any]) -> str:
    """What the graph is: one network, or how many."""
    others = facts.get("companions", ())  # models packaged before there were any lack the key
    if others:
        return f"An ensemble of {len(others) + 1} networks"
    return f"A {facts['weights']['architecture']}"


def _parts(facts: Mapping[str, Any]) -> str:
    """What reads along with the network, where anything does."""
    if "lung_detail" not in facts:
        return ""
    texts = FOR_CHILDREN if "age_sha256" in facts["lung_detail"] else FOR_ALL
    weight = facts["config"]["reading"]["weight"]
    detail = LUNG_DETAIL.format(weight=weight, **texts, **facts["lung_detail"])
    if not facts["companions"]:
        return detail
    networks = [
        {"size": facts["config"]["input"]["size"]} | facts["config"]["fit"],
        *facts["config"]["companions"],
    ]
    lines = "\n".join(f"  {place}. {_network(n)}" for place, n in enumerate(networks, start=1))
    return MEMBERS.format(number=len(networks), networks=lines) + detail


def _network(recipe: Mapping[str, Any]) -> str:
    """One line on a network: what it is, what it sees, and whose images it learned from."""
    generators = " and ".join(recipe.get("generators", ())) or "all"
    frozen = recipe.get("freeze", 0)
    kept = f", the first {frozen} of {recipe['blocks']} blocks as they started" if frozen else ""
    trainings = recipe.get("trainings", 1)
    places = " and ".join(str(place) for place in recipe.get("taught_by", ()))
    taught = f", taught by networks {places}" if places else ""
    mean = f", the mean of {trainings} trainings" if trainings > 1 else ""
    counts = recipe.get("counts", 1)
    times = f"; counts {counts:g} times" if counts != 1 else ""
    share = recipe.get("second_view", 0)
    again = f"; reads each film once more, mirrored and its middle {share:.0%}" if share else ""
    return (
        f"{recipe['architecture']} on {' and '.join(recipe['views'])} of {recipe['size']} pixels,"
        f" images of {generators}{kept}{taught}{mean}{times}{again}."
    )


def _generators(dataset: Mapping[str, Any]) -> str:
    """Who drew how many images, and of which CT scans those of them are that were projected."""
    if "images" not in dataset:  # a model packaged before it was recorded
        return f"Generator: {', '.join(dataset['generators'])}. "
    volumes = [volume for own in dataset["generations"] for volume in own.get("volumes", ())]
    counts = ", ".join(f"{name} ({count:,} images)" for name, count in dataset["images"].items())
    if not volumes:
        return f"Generator: {counts}. "
    scans = "; ".join(
        f"{volume['collection'] or volume['name']} ({volume['licence'] or 'licence not given'})"
        for volume in volumes
    )
    return (
        f"Generators: {counts}. No real radiograph was seen; the images of ct are projections of "
        f"{len(volumes)} CT scans: {scans}.\n\n"
    )


def _starts(facts: Mapping[str, Any]) -> str:
    """Name, SHA-256 and licence of the start weights of all networks, each once."""
    made = [facts["weights"], *facts.get("companions", [])]
    # Models packaged before start weights were recorded started all networks alike.
    starts = [weights.get("start", {"name": facts["config"]["fit"]["init"]}) for weights in made]
    texts = [
        start["name"]
        + (f" (SHA-256 `{start['sha256']}`" if "sha256" in start else "")
        + (f", {start['licence']}" if "licence" in start else "")
        + (")" if "sha256" in start else "")
        for start in starts
    ]
    return "; ".join(dict.fromkeys(texts))


def with_refusals(card: str, manifest: Manifest) -> str:
    """A card whose section on refusals is that of ``manifest``; the rest stays as it is."""
    start = card.index(REFUSALS) + len(REFUSALS)
    end = card.index("\n## ", start)
    return f"{card[:start]}\n\n{_refusals(manifest)}\n{card[end:]}"


def _refusals(manifest: Manifest) -> str:
    if manifest.gate is None:
        return BY_HEADER
    record = manifest.provenance["gate"]
    rows = [
        (kind, count["images"], count["refused"], f"{count['refused'] / count['images']:.1%}")
        for kind, count in record["held_out"].items()
        if count["images"]
    ]
    return BY_PIXELS.format(
        by_header=BY_HEADER,
        graph=manifest.gate.graph,
        weights=record["weights"],
        threshold=manifest.gate.threshold,
        share=record["refused"],
        table=_table(("synthetic, held out", "images", "refused", "share"), rows),
    )


def _counts(splits: Mapping[str, Mapping[str, int]]) -> str:
    counted = ("pneumonia", "no pneumonia", "pairs")
    rows = [(name, *(split[what] for what in counted)) for name, split in splits.items()]
    return _table(("split", *counted), rows)


def _real(groups: Sequence[Mapping[str, Any]]) -> str:
    """The section on real radiographs; the row over all strata mixes cohorts and is left out."""
    measures = ("auroc", "aupr", "sensitivity", "specificity")
    rows = [
        (
            ", ".join(row["stratum"].values()),
            row["images"],
            row["positives"],
            *(_ends(row[name]) for name in measures),
            "-" if row["ece"] is None else row["ece"],
        )
        for row in groups
        if row["stratum"]
    ]
    header = ("source", "images", "pneumonia", "AUROC", "AUPR", *measures[2:], f"ECE, {BINS} bins")
    return f"\n## Measures on real radiographs\n\n{USE_OF_REAL_IMAGES}\n\n{_table(header, rows)}\n"


def _ends(interval: Mapping[str, float] | None) -> str:
    if interval is None:
        return "-"
    return f"{interval['value']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"


def _table(header: Sequence[str], rows: Any) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
