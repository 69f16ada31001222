"""docs/evaluation.md: its figures follow from its counts, and its code runs."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from clients.metrics.evaluate import Method, evaluate
from clients.scoring.score import METADATA
from clients.scoring.scored import open_scores
from tests.clients.samples import frame, two_normals
from tests.sources import ROOT

TEXT = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
RUN = b'{"model": {"name": "m", "version": "1", "sha256": "0", "operating_point": "balanced"}}'


def counts() -> list[list[int]]:
    """Films by class and view, as the table has them: AP, PA, all."""
    rows = re.findall(r"^\| (?:pneumonia|normal) \| (.*) \|$", TEXT, re.MULTILINE)
    return [[int(cell.replace(",", "")) for cell in row.split(" | ")] for row in rows]


class TestViewAlone:
    def test_area_of_the_view_is_that_of_the_four_counts(self) -> None:
        (ill_ap, ill_pa, ill), (well_ap, well_pa, well) = counts()
        assert (ill_ap + ill_pa, well_ap + well_pa) == (ill, well)
        labels = np.repeat([1, 1, 0, 0], [ill_ap, ill_pa, well_ap, well_pa])
        seen = np.repeat([1.0, 0.0, 1.0, 0.0], [ill_ap, ill_pa, well_ap, well_pa])
        area = roc_auc_score(labels, seen)
        assert area == pytest.approx((ill_ap / ill + well_pa / well) / 2)
        assert f"**{area:.3f}**".replace("0.", ".") in TEXT

    def test_shares_of_the_pairs_are_those_of_the_counts(self) -> None:
        (ill_ap, ill_pa, ill), (well_ap, well_pa, well) = counts()
        right = ill_ap * well_pa / (ill * well)
        same = (ill_ap * well_ap + ill_pa * well_pa) / (ill * well)
        for share in (right, same, ill_ap / ill, well_pa / well):
            assert f"{share:.3f}".removeprefix("0") in TEXT


class TestSnippet:
    @pytest.fixture
    def weighted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Run the code of the page on a sample with a lateral and a refused film."""
        table = frame(*two_normals(40, 60, shift=1.0, seed=2))
        table["path"] = [f"{number:03d}.png" for number in range(100)]
        table["dataset_view"] = np.where(np.arange(100) % 3 == 0, "AP", "PA")
        table.loc[7, "dataset_view"] = "LL"
        table.loc[8, ["probability", "call", "error"]] = [np.nan, None, "corrupt_image"]
        types = {"label": pa.int8(), "error": pa.string()}
        schema = pa.Schema.from_pandas(table, preserve_index=False)
        schema = pa.schema([pa.field(f.name, types.get(f.name, f.type)) for f in schema])
        written = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
        pq.write_table(
            written.replace_schema_metadata({METADATA: RUN}), tmp_path / "scores.parquet"
        )
        (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
        monkeypatch.chdir(tmp_path)
        exec(compile(code, "docs/evaluation.md", "exec"), {})
        return tmp_path / "weighted.parquet"

    def test_every_cell_weighs_as_many_films_as_the_population_has(self, weighted: Path) -> None:
        table = pd.read_parquet(weighted)
        cells = table[table["label"].notna()].groupby(["label", "dataset_view"])["rsna_mix"].sum()
        (ill_ap, ill_pa, _), (well_ap, well_pa, _) = counts()
        assert cells.to_dict() == pytest.approx(
            {(1, "AP"): ill_ap, (1, "PA"): ill_pa, (0, "AP"): well_ap, (0, "PA"): well_pa}
        )

    def test_evaluation_reads_it_and_still_knows_the_model(self, weighted: Path) -> None:
        scored = open_scores(weighted)
        method = Method(replicates=20, weights="rsna_mix", within="dataset_view")
        found = evaluate(scored.table, method=method)[0]
        assert str(scored.model) == "m 1"
        assert (found.images, found.refused) == (98, 0)
        assert found.prevalence == pytest.approx(6005 / 14852)
