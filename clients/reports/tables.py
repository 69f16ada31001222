"""Measures as plain text: what ``cxr evaluate`` prints."""

from collections.abc import Sequence

from clients.metrics.evaluate import Measures, Method
from clients.metrics.few import ENOUGH
from clients.metrics.intervals import Interval


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Join cells to lines; the first column is left-aligned, the others right-aligned."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    )


def to_table(measures: Sequence[Measures], method: Method) -> str:
    """Aligned plain text, one line a stratum; ``-`` where a measure is undefined."""
    rows = [_cells(row, method) for row in measures]
    table = aligned([list(rows[0]), *(list(row.values()) for row in rows)])
    return table if method.weights is None else f"{table}\n{weights_note(method.weights)}"


def repeats(whole: Measures) -> list[str]:
    """Say of all images that some are of one film, in a sentence; empty where none are."""
    sentence = (
        f"{whole.repeated} of {whole.images} images repeat the film of another row (same sha256) "
        "and count again; list each film once"
    )
    return [sentence] if whole.repeated else []


def too_few(measures: Sequence[Measures]) -> list[str]:
    """Say of each group with both classes of which one is too small that it is, in sentences."""
    return [
        too_few_sentence(
            row.title, row.positives, row.images, "images" if row.patients is None else "patients"
        )
        for row in measures
        if row.too_few and row.auroc is not None
    ]


def too_few_sentence(title: str, positives: int, images: int, counted: str) -> str:
    """Say that a group has a class that is too small; ``counted`` are images or patients."""
    return (
        f"{title}: too few, {positives} with and {images - positives} without pneumonia; its "
        f"measures mean little below {ENOUGH} {counted} of either"
    )


def weights_note(column: str) -> str:
    """What sampling weights did, in words."""
    return (
        f"Images count by their weights in the column {column}; images, refused, positive and "
        "called are counted. effective: Kish's number of images of equal weight that tell as much."
    )


def operating_table(measures: Sequence[Measures]) -> str:
    """Aligned plain text, one line an operating point of each stratum."""
    points = [(row.title, point) for row in measures for point in row.operating_points]
    prevalence = next((p.at_prevalence.prevalence for _, p in points if p.at_prevalence), None)
    header = ["stratum", "point", "threshold", "called", "sensitivity", "specificity", "PPV", "NPV"]
    if prevalence is not None:
        header += [f"PPV at {prevalence:g}", f"NPV at {prevalence:g}"]
    lines = [header]
    for title, point in points:
        line = [title, point.name, format_number(point.threshold), str(point.called)]
        values = [point.sensitivity, point.specificity, point.ppv, point.npv]
        if prevalence is not None:
            given = point.at_prevalence
            values += [None, None] if given is None else [given.ppv, given.npv]
        lines.append(line + [format_interval(value) for value in values])
    return aligned(lines)


def _cells(row: Measures, method: Method) -> dict[str, str]:
    """Cells by the heads of their columns."""
    delong = row.auroc_delong
    within = {f"AUROC within {method.within}": format_interval(row.auroc_within)}
    return {
        "stratum": row.title,
        "images": str(row.images),
        **({} if method.weights is None else {"effective": f"{row.effective:.1f}"}),
        "refused": str(row.refused),
        "positive": str(row.positives),
        "AUROC [bootstrap]": format_interval(row.auroc),
        "[DeLong]": "-" if delong is None else f"[{delong.low:.3f}, {delong.high:.3f}]",
        **({} if method.within is None else within),
        "AUPR [bootstrap]": format_interval(row.aupr),
        "guess": format_number(row.prevalence),
        "sensitivity": format_interval(row.sensitivity),
        "specificity": format_interval(row.specificity),
        "Brier": format_number(row.brier),
        "ECE": format_number(row.ece),
    }


def format_interval(value: Interval | None) -> str:
    """Three digits, with the interval's ends in brackets; ``-`` where there is none."""
    return "-" if value is None else str(value)


def format_number(value: float | None) -> str:
    """Three digits; ``-`` where there is none."""
    return "-" if value is None else f"{value:.3f}"
