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
    header = [
        "stratum", "images", "refused", "positive", "AUROC [bootstrap]", "[DeLong]",
        "AUPR [bootstrap]", "guess", "sensitivity", "specificity", "Brier", "ECE",
    ]  # fmt: skip
    lines = [header, *(_cells(row) for row in measures)]
    if method.within is not None:
        within = [f"AUROC within {method.within}"]
        within += [format_interval(row.auroc_within) for row in measures]
        lines = [[*line[:6], cell, *line[6:]] for line, cell in zip(lines, within, strict=True)]
    if method.weights is None:
        return aligned(lines)
    effective = ["effective", *(f"{row.effective:.1f}" for row in measures)]
    lines = [[*line[:2], cell, *line[2:]] for line, cell in zip(lines, effective, strict=True)]
    return f"{aligned(lines)}\n{weights_note(method.weights)}"


def too_few(measures: Sequence[Measures]) -> list[str]:
    """Say of each group with an area of which a class is too small that it is, in sentences."""
    return [
        f"{row.title}: too few, {row.positives} with and {row.images - row.positives} without "
        f"pneumonia; its areas mean little below {ENOUGH} "
        f"{'images' if row.patients is None else 'patients'} of either"
        for row in measures
        if row.too_few and row.auroc is not None
    ]


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


def _cells(row: Measures) -> list[str]:
    delong = row.auroc_delong
    return [
        row.title,
        str(row.images),
        str(row.refused),
        str(row.positives),
        format_interval(row.auroc),
        "-" if delong is None else f"[{delong.low:.3f}, {delong.high:.3f}]",
        format_interval(row.aupr),
        format_number(row.prevalence),
        format_interval(row.sensitivity),
        format_interval(row.specificity),
        format_number(row.brier),
        format_number(row.ece),
    ]


def format_interval(value: Interval | None) -> str:
    """Three digits, with the interval's ends in brackets; ``-`` where there is none."""
    return "-" if value is None else str(value)


def format_number(value: float | None) -> str:
    """Three digits; ``-`` where there is none."""
    return "-" if value is None else f"{value:.3f}"
