"""The design is balanced, says nothing of the label but the lesion, and can be put into words."""

import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency

from training.generate.design import (
    AGE_BANDS,
    EXTENTS,
    PATTERNS,
    SHARED,
    PromptRequest,
    draw_requests,
)
from training.generate.plan import Plan
from training.generate.prompt import FOLDER, InvalidTemplates, Templates

PAIRS = 3000
LESION = {"pattern", "lobes", "extent"}
GEMINI, ROENTGEN = FOLDER / "gemini.toml", FOLDER / "roentgen.toml"


@pytest.fixture(scope="module")
def requests() -> list[PromptRequest]:
    return list(draw_requests(5, PAIRS))


@pytest.fixture(scope="module")
def table(requests: list[PromptRequest]) -> pd.DataFrame:
    rows = [dict(request.facts) | {"label": request.label} for request in requests]
    return pd.DataFrame.from_records(rows)


def p_value(one: "pd.Series[str]", two: "pd.Series[str]") -> float:
    return float(chi2_contingency(pd.crosstab(one, two).to_numpy()).pvalue)


class TestDesign:
    def test_each_pair_has_both_labels_and_shares_all_but_the_lesion(
        self, requests: list[PromptRequest]
    ) -> None:
        for healthy, sick in zip(requests[::2], requests[1::2], strict=True):
            assert (healthy.label, sick.label) == (0, 1)
            assert (healthy.pair, healthy.seed) == (sick.pair, sick.seed)
            differing = {name for name in healthy.facts if healthy.facts[name] != sick.facts[name]}
            assert differing == LESION
            assert not any(healthy.facts[name] for name in LESION)

    def test_no_factor_but_the_lesion_depends_on_the_label(self, table: pd.DataFrame) -> None:
        nuisances = set(table.columns) - LESION - {"label"}
        assert len(nuisances) == 13
        for name in nuisances:
            assert p_value(table[name], table["label"]) == pytest.approx(1.0), name

    def test_the_lesion_depends_on_no_other_factor(self, table: pd.DataFrame) -> None:
        sick = table[table["label"] == 1]
        others = [*SHARED, "age_band", "projection", "device", "variant"]
        cases = [(name, lesion) for name in others for lesion in ("pattern", "extent")]
        cases += list(combinations(SHARED, 2))
        for one, two in cases:
            assert p_value(sick[one], sick[two]) > 0.01 / len(cases), (one, two)

    def test_levels_come_equally_often(self, table: pd.DataFrame) -> None:
        sick = table[table["label"] == 1]
        for factor, levels in (("pattern", PATTERNS), ("extent", EXTENTS), ("age_band", AGE_BANDS)):
            assert sick[factor].value_counts().to_dict() == {
                level: PAIRS // len(levels) for level in levels
            }
        for factor, deck in SHARED.items():
            share = PAIRS // len(deck)
            expected = {level: count * share for level, count in Counter(deck).items()}
            assert sick[factor].value_counts().to_dict() == expected

    def test_every_lobe_of_a_pattern_occurs(self, table: pd.DataFrame) -> None:
        for pattern, lobes in PATTERNS.items():
            assert set(table[table["pattern"] == pattern]["lobes"]) == set(lobes)

    def test_ages_lie_in_their_band(self, requests: list[PromptRequest]) -> None:
        for request in requests:
            first, last = AGE_BANDS[str(request.facts["age_band"])]
            assert first <= int(request.facts["age_months"]) <= last

    def test_more_pairs_extend_the_design(self, requests: list[PromptRequest]) -> None:
        assert list(draw_requests(5, 20)) == requests[:40]

    def test_another_seed_gives_another_design(self, requests: list[PromptRequest]) -> None:
        other = list(draw_requests(6, 20))
        assert not {request.seed for request in other} & {request.seed for request in requests[:40]}
        assert [dict(r.facts) for r in other] != [dict(r.facts) for r in requests[:40]]

    def test_every_request_has_a_digest_of_its_own(self, requests: list[PromptRequest]) -> None:
        digests = {request.digest(generator="a") for request in requests}
        assert len(digests) == len(requests)
        assert requests[0].digest(generator="a") in digests
        assert requests[0].digest(generator="b") not in digests


class TestPrompts:
    @pytest.mark.parametrize("path", [GEMINI, ROENTGEN], ids=["gemini", "roentgen"])
    def test_halves_of_a_pair_differ_in_the_finding_alone(self, path: Path) -> None:
        plan = Plan.draw(200, 3, path, generator="test")
        names = list(plan.requests)
        for healthy, sick in zip(names[::2], names[1::2], strict=True):
            (wording, well), (other, ill) = plan.prompt(healthy), plan.prompt(sick)
            assert wording == other
            request = plan.requests[sick]
            findings = [
                plan.templates.words["finding"][str(pattern)].format_map(
                    {
                        "lobes": plan.templates.words["lobes"].get(str(request.facts["lobes"])),
                        "extent": plan.templates.words["extent"].get(str(request.facts["extent"])),
                    }
                )
                for pattern in ("", request.facts["pattern"])
            ]
            assert well.replace(findings[0], findings[1]) == ill

    @pytest.mark.parametrize("path", [GEMINI, ROENTGEN], ids=["gemini", "roentgen"])
    def test_every_wording_of_every_request_is_complete(self, path: Path) -> None:
        templates = Templates.load(path)
        for request in draw_requests(3, 300, templates.age_bands):
            for wording in range(len(templates.wordings)):
                prompt = templates.prompt(request, wording)
                assert not re.search(r"[{}\n]|  ", prompt)

    def test_wordings_begin_evenly_and_go_round(self) -> None:
        plan = Plan.draw(80, 3, GEMINI, generator="test")
        count = len(plan.templates.wordings)
        first = Counter(plan.prompt(name)[0] for name in plan.requests)
        assert set(first.values()) == {160 // count}
        name = next(iter(plan.requests))
        asked = [plan.prompt(name, refusals) for refusals in range(count + 1)]
        assert len({prompt for _, prompt in asked}) == count
        assert asked[0] == asked[-1]

    def test_gemini_is_told_patient_film_and_lesion(self) -> None:
        templates = Templates.load(GEMINI)
        request = next(
            request
            for request in draw_requests(3, 500)
            if request.facts["pattern"] == "lobar"
            and request.facts["age_band"] == "infant"
            and request.facts["projection"] == "AP supine"
        )
        for wording in range(len(templates.wordings)):
            prompt = templates.prompt(request, wording)
            assert f"{request.facts['age_months']}-month-old {request.facts['sex']}" in prompt
            assert "lying supine" in prompt
            assert f"{request.facts['lobes']} lobe" in prompt
        facts = templates.facts(request)
        assert facts["view"] == "AP"
        assert "race" not in facts

    def test_roentgen_has_its_form_and_only_adults(self) -> None:
        templates = Templates.load(ROENTGEN)
        for request in draw_requests(3, 300, templates.age_bands):
            prompt = templates.prompt(request, 0)
            form = r"(\d+) year old (WHITE|BLACK|ASIAN|HISPANIC) (female|male)\. [A-Z].*\."
            found = re.fullmatch(form, prompt)
            assert found is not None, prompt
            assert 18 <= int(found[1]) <= 90
            assert ("Normal chest radiograph." in prompt) == (request.label == 0)
            assert templates.facts(request)["view"] == ""

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ('mild = "mild"', "", r"\[extent\] lacks words for 'mild'"),
            ('male = "male"', "", r"\[sex\] lacks words for 'male'"),
            ("{sex}", "{shoe_size}", r"\{shoe_size\} is not a factor"),
            ('"infant", "child"', '"baby"', "age_bands out of infant"),
            ("[sex]", "sex = 1\n[sexes]", "sex"),
            ("wordings = [", "wordings = {", "gemini.toml"),
        ],
    )
    def test_templates_that_cannot_be_used_are_refused_by_name(
        self, tmp_path: Path, old: str, new: str, message: str
    ) -> None:
        path = tmp_path / "gemini.toml"
        path.write_text(GEMINI.read_text().replace(old, new))
        with pytest.raises(InvalidTemplates, match=message):
            Templates.load(path)

    def test_other_words_are_another_data_set(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.toml"
        path.write_text(GEMINI.read_text().replace("Well exposed.", "Perfectly exposed."))
        assert Templates.load(path).digest != Templates.load(GEMINI).digest
        one, two = (Plan.draw(5, 1, each, generator="test") for each in (path, GEMINI))
        assert not set(one.requests) & set(two.requests)


def test_seeds_fit_a_column() -> None:
    seeds = [request.seed for request in draw_requests(0, 200)]
    assert max(seeds) <= np.iinfo(np.int64).max
