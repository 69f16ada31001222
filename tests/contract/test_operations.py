"""docs/operations.md names every metric, stage and field of the log, and none that is not there."""

import re

import pytest
from prometheus_client.metrics import MetricWrapperBase

from service.observe import metrics, middleware, stages
from service.observe.request import RequestFacts
from tests.sources import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()
DEFINED = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
METRICS = [metric for metric in DEFINED if not metric._name.startswith("bentoml_")]
SUFFIXES = {"counter": "_total", "histogram": "", "gauge": ""}
ROW = re.compile(r"^\| `(nanocxr_\w+)(?:\{([\w,]+)\})?` \| (\w+) \|", re.MULTILINE)


def described(metric: MetricWrapperBase) -> tuple[str, str, str]:
    """Name, labels and kind, as the table of the page has them."""
    kind = str(metric._type)
    return metric._name + SUFFIXES[kind], ",".join(metric._labelnames), kind


def test_table_is_what_the_code_defines() -> None:
    assert METRICS
    assert sorted(ROW.findall(PAGE)) == sorted(described(metric) for metric in METRICS)


def test_page_names_no_other_metric() -> None:
    names = {described(metric)[0] for metric in METRICS}
    derived = {f"{name}{suffix}" for name in names for suffix in ("_bucket", "_count", "_sum")}
    assert set(re.findall(r"nanocxr_\w+", PAGE)) <= names | derived


def test_metrics_under_names_of_bentoml_are_listed() -> None:
    names = [described(metric)[0] for metric in DEFINED if metric not in METRICS]
    assert names
    assert set(re.findall(r"bentoml_service_\w+", PAGE)) == set(names)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric._name)
def test_name_follows_the_conventions(metric: MetricWrapperBase) -> None:
    name, _, kind = described(metric)
    assert name.startswith("nanocxr_")
    assert not re.search(r"_(ms|millis|minutes|time|timer)(_|$)", name)
    assert not name.endswith("_total") or kind == "counter"
    assert metric._documentation.endswith(".") or ";" in metric._documentation


def test_stages_are_described() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.partition("### Stages")[2], re.MULTILINE)
    assert set(stages.NAMES) <= set(rows)


def test_fields_of_the_log_are_described() -> None:
    table = PAGE.partition("### Fields")[2].partition("\n##")[0]
    rows = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    everything = middleware.line(
        RequestFacts(
            id="x",
            method="POST",
            route="/",
            images=2,
            format="PNG",
            rows=1,
            columns=1,
            stages=[stages.Stage("infer", 0, 1)],
        ),
        200,
        0.1,
    )
    assert set(everything) <= set(rows)
