"""Scores without labels -> their prevalence, and a column of probabilities adjusted to it.

score -> scores.parquet + manifest or site.json -> [adjusted: prior] -> the same scores.parquet
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clients.calibration.prior import Calibrated, Estimate, PriorError, adjust, estimate
from clients.scoring.score import ADJUSTED, Engine
from service.files import replacing, sha256
from service.model.bundle import MANIFEST
from service.model.manifest import Manifest
from service.model.site import SiteFile
from service.settings import Settings

METADATA = b"nanocxr.prior"


def calibrated_on(
    engine: Engine, model: Path | None = None, calibration: Path | None = None
) -> Calibrated:
    """Look up what the probabilities of an engine were calibrated on.

    Parameters
    ----------
    engine
        Who reads, with its own calibration or with a site's.
    model, calibration
        Where these should be; those of the settings where None.

    Raises
    ------
    PriorError
        If they are others, or do not tell how many images of each class there were.
    InvalidManifest
        If the manifest cannot be read.
    """
    settings = Settings.from_env()
    folder, file = model or settings.model, calibration or settings.calibration
    manifest = Manifest.load(folder / MANIFEST)
    if manifest.identity.sha256 != engine.model.sha256:
        raise PriorError(
            f"{folder} does not hold {engine.model}, which reads; its "
            "manifest tells the prevalence it was calibrated at. Set CXR_MODEL to its folder."
        )
    if engine.calibration is None:
        return _synthetic(manifest)
    content = b"" if file is None else file.read_bytes()
    if sha256(content) != engine.calibration:
        raise PriorError(
            "the service reads with a site's calibration whose file is not at hand; it tells how "
            "many films had pneumonia. Set CXR_CALIBRATION to it."
        )
    found = SiteFile.model_validate_json(content)
    return Calibrated(
        positives=found.positives,
        negatives=found.films - found.positives,
        points=found.operating_points,
        films=True,
    )


def _synthetic(manifest: Manifest) -> Calibrated:
    try:
        split = manifest.provenance["dataset"]["splits"]["calibration"]
        positives, negatives = int(split["pneumonia"]), int(split["no pneumonia"])
    except (KeyError, TypeError, ValueError):
        positives = negatives = 0
    if min(positives, negatives) < 1:
        raise PriorError(
            f"the manifest of {manifest.identity} does not tell how many images of "
            "each class it was calibrated on. Make a calibration with `cxr calibrate`, and read "
            "with --calibration."
        )
    return Calibrated(
        positives=positives,
        negatives=negatives,
        points=manifest.operating_points,
        films=False,
    )


def add_adjusted(out: Path, calibrated: Calibrated) -> Estimate:
    """Estimate the prevalence of a score file, and put adjusted probabilities beside its own.

    Prevalences are in the file's metadata; nothing else of it changes. Where the estimate is 0 or
    1, the column is empty.
    """
    table = pq.read_table(out)
    if ADJUSTED in table.column_names:
        table = table.drop_columns([ADJUSTED])
    raw = table["probability"].to_numpy()
    read = ~np.isnan(raw)
    found = estimate(raw[read], calibrated)
    moved = np.full(raw.size, np.nan)
    if not found.at_edge:
        moved[read] = adjust(raw[read], found.before, found.prevalence.value)
    table = table.add_column(
        table.column_names.index("probability") + 1,
        pa.field(ADJUSTED, pa.float64()),
        pa.array(moved, from_pandas=True),
    )
    facts = {"before": found.before, "prevalence": asdict(found.prevalence), "images": found.images}
    metadata = (table.schema.metadata or {}) | {METADATA: json.dumps(facts).encode()}
    with replacing(out) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary)
    return found
