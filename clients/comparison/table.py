"""A comparison as plain text: what ``cxr compare`` prints."""

from collections.abc import Sequence

from clients.comparison.compare import Comparison, Pair
from clients.comparison.localisation import Localisation
from clients.reports.tables import (
    aligned,
    format_interval,
    format_number,
    repeats,
    too_few,
    weights_note,
)

LEFT_OUT = "Clusters and UMAP of features count images alike, and are left out."


def comparison_text(comparison: Comparison) -> str:
    """Measures, pairs and left-out images of ``cxr compare`` as plain text."""
    blocks = []
    for group in comparison.groups:
        header = ["model", "AUROC", "AUPR", "K-means accuracy", "adjusted Rand"]
        lines = [header] + [
            [
                entry.label,
                format_interval(entry.measures.auroc),
                format_interval(entry.measures.aupr),
                format_number(entry.separation.accuracy if entry.separation else None),
                format_number(entry.separation.adjusted_rand if entry.separation else None),
            ]
            for entry in group.entries
        ]
        facts = group.measures
        title = f"{facts.title}: {facts.images} images, {facts.positives} positive"
        if facts.effective is not None:
            title += f", {facts.effective:.1f} effective"
        blocks.append(f"{title}\n{aligned(lines)}")
        if group.pairs:
            blocks.append(_pairs(group.pairs))
    blocks += [f"Warning: {sentence}" for sentence in warnings_of(comparison)]
    if comparison.weights is not None:
        blocks.append(f"{weights_note(comparison.weights)} {LEFT_OUT}")
    for label, dropped in comparison.dropped.items():
        if dropped.refused or dropped.not_in_all:
            blocks.append(
                f"{label}: left out {dropped.refused} refused images and {dropped.not_in_all} "
                "that not all have read"
            )
    for label, found in comparison.localisation.items():
        blocks.append(f"{label}: {_localisation(found)}")
    return "\n\n".join(blocks)


def warnings_of(comparison: Comparison) -> list[str]:
    """Say that films come twice, and which groups are too small to test differences."""
    groups = [group.measures for group in comparison.groups]
    untested = [f"{sentence}, and differences are not tested" for sentence in too_few(groups)]
    return repeats(groups[0]) + untested


def _pairs(pairs: Sequence[Pair]) -> str:
    header = ["pair", "AUROC", "p bootstrap", "p DeLong", "AUPR", "p bootstrap"]
    return aligned(
        [header]
        + [
            [
                f"{pair.first} - {pair.second}",
                pair.auroc.signed,
                _p_value(pair.auroc_p_bootstrap),
                _p_value(pair.auroc_p_delong),
                pair.aupr.signed,
                _p_value(pair.aupr_p_bootstrap),
            ]
            for pair in pairs
        ]
    )


def _localisation(found: Localisation) -> str:
    told = [] if found.pointing is None else [str(found.pointing)]
    if found.heat is not None:
        told.append(
            f"heat inside the boxes {format_interval(found.heat.share)}; by chance "
            f"{found.heat.by_chance:.3f}"
        )
    return "; ".join(told) or "the scores hold no heatmap peaks, and the model is not at hand"


def _p_value(value: float | None) -> str:
    return "-" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"
