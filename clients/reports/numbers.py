"""Measures as JSON that says where they are from: what ``cxr evaluate --json`` writes.

measures -> [numbers] -> measures.json -> model card
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from clients.metrics.evaluate import Measures, Method
from clients.metrics.pointing import Pointing
from clients.scoring.scored import Scored
from service.version import VERSION


def to_json(
    scored: Scored,
    measures: Sequence[Measures],
    by: Sequence[str],
    method: Method,
    pointing: Pointing | None,
) -> dict[str, Any]:
    """Plain values for ``json.dumps``.

    Parameters
    ----------
    scored
        The scores that were measured.
    measures
        From :func:`clients.metrics.evaluate.evaluate` with ``by`` and ``method``.
    pointing
        Heatmap peaks against boxes, where boxes were given.
    """
    made = {
        "model": None if scored.model is None else asdict(scored.model),
        "calibration": scored.calibration,
        "operating_point": scored.operating_point,
    }
    return {
        "run": run_facts(by, method) | made,
        "groups": [asdict(row) for row in measures],
        "pointing": None if pointing is None else asdict(pointing),
    }


def run_facts(by: Sequence[str], method: Method) -> dict[str, Any]:
    """How measures were made: version, columns and bootstrap."""
    return {
        "nanocxr": VERSION,
        "by": list(by),
        "patient": method.patient,
        "weights": method.weights,
        "within": method.within,
        "prevalence": method.prevalence,
        "replicates": method.replicates,
        "seed": method.seed,
    }
