"""A service that takes the money: what it costs at most, and what is left of it."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from service.imaging.decode import Limits, decode
from tests.training.generate.nanobanana.films import CONVERTED, UNFIT, picture
from tests.training.generate.nanobanana.gemini_server import BROKEN, NO_ANSWERS, GeminiServer
from tests.training.generate.nanobanana.run import PRICE, ask, ledger, quick, table
from training.generate.nanobanana.ledger import KILLED, Ledger

BRAKE = 4
PAIRS = 8


def aside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-delivered")


def kept(folder: Path) -> set[str]:
    """SHA-256 of every image of a data set, and of all that was kept beside it."""
    paths = [*(folder / "images").glob("*.*"), *aside(folder).glob("*.*")]
    return {sha256(path.read_bytes()).hexdigest() for path in paths}


class TestBrake:
    @pytest.mark.parametrize("kind", [*UNFIT, *BROKEN, *NO_ANSWERS, "cut", "text only"])
    def test_bounds_what_a_rude_service_is_asked_for(
        self, server: GeminiServer, tmp_path: Path, kind: str
    ) -> None:
        server.rate, server.kinds = 1.0, (kind,)
        folder = tmp_path / "data"
        command = {"pairs": PAIRS, "concurrency": 6, "max_unusable": BRAKE}
        outcome = ask(folder, **command, timeout=2.0 if kind == "drip" else 10.0)
        assert server.calls["draw"] <= outcome.images + BRAKE
        assert outcome.images < 2 * PAIRS
        assert f"--max-unusable {BRAKE}: {BRAKE} of the last" in outcome.reason
        assert f"at US$ {outcome.spent - outcome.images * PRICE:.4f}" in outcome.reason
        assert server.paid <= kept(folder)
        assert (outcome.aside is not None) == (kind in (*UNFIT, *BROKEN))
        assert str(outcome.aside or "") in outcome.reason

        server.rate = 0.0
        assert ask(folder, **command, refusals=8).images == 2 * PAIRS
        assert server.paid <= kept(folder)

    def test_stops_where_every_third_answer_is_of_no_use(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        server.script = ["", "", "coloured"] * 20
        outcome = ask(tmp_path, pairs=15, concurrency=3, max_unusable=3)
        assert len(server.paid) - len(server.delivered) == 3
        assert outcome.images < 30

    def test_lets_a_few_useless_answers_pass(self, server: GeminiServer, tmp_path: Path) -> None:
        server.script = ["", "", "", "", "", "coloured"] * 4
        assert ask(tmp_path, pairs=8, concurrency=1, max_unusable=3).images == 16
        assert len(server.paid) - len(server.delivered) == 3

    def test_judges_a_small_job_before_a_larger_one(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        server.rate, server.kinds = 1.0, ("coloured",)
        outcome = ask(tmp_path, pairs=PAIRS, batch=True, max_unusable=BRAKE)
        assert (server.calls["start job"], len(server.paid)) == (1, BRAKE)
        assert f"{BRAKE} coloured in this run" in outcome.reason
        server.rate = 0.0
        assert ask(tmp_path, pairs=PAIRS, batch=True, max_unusable=BRAKE).images == 2 * PAIRS
        assert server.calls["start job"] == 1 + 3  # of 4, 4 and 8
        assert server.paid <= kept(tmp_path)


class TestConversion:
    def test_takes_what_serving_does_not_read(self, server: GeminiServer, tmp_path: Path) -> None:
        server.script = list(CONVERTED)
        rows = table(ask(tmp_path, pairs=2, concurrency=1))
        assert server.calls["draw"] == 4
        for serial, row in enumerate(rows.to_dict("records")[:3]):
            pixels = decode((tmp_path / row["path"]).read_bytes(), Limits()).pixels
            expected = np.asarray(picture(serial).convert("L"), np.float32) / 255
            cell = pixels.shape[0] // expected.shape[0]
            np.testing.assert_allclose(pixels[::cell, ::cell], expected, atol=0.01)
            original = (aside(tmp_path) / row["delivered"]).read_bytes()
            assert sha256(original).hexdigest() in server.paid
        assert pixels.shape == (4096, 4096)
        assert rows.delivered[3] == ""
        assert len(list(aside(tmp_path).iterdir())) == 3

    def test_keeps_every_image_of_an_answer(self, server: GeminiServer, tmp_path: Path) -> None:
        server.script = ["two images"]
        assert ask(tmp_path, pairs=1).images == 2
        assert len(server.paid) == 3
        assert server.paid <= kept(tmp_path)

    def test_keeps_a_job_s_image_of_what_was_asked_for_meanwhile(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        ask(tmp_path / "lost", pairs=1, batch=True)
        ask(tmp_path / "new", pairs=1)
        assert ask(tmp_path / "new", pairs=1, batch=True, job="batches/1").aside is not None
        assert len(server.paid) == 4
        assert server.paid <= kept(tmp_path / "new")

    def test_keeps_results_of_a_job_that_cannot_be_read(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        server.torn = '{"key": "'
        assert ask(tmp_path, pairs=1, batch=True).images == 2
        assert (aside(tmp_path) / "batches-1.jsonl").read_text().startswith(server.torn)

    def test_what_comes_right_leaves_nothing_beside(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        assert ask(tmp_path / "data", pairs=1).aside is None
        assert [path.name for path in tmp_path.iterdir()] == ["data"]


class TestLedger:
    def test_an_answer_that_never_came_counts_as_paid(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        server.script = ["cut", "500"]
        outcome = ask(tmp_path, pairs=1, concurrency=1)
        assert [entry["verdict"] for entry in ledger(tmp_path)] == ["no answer", "image", "image"]
        assert outcome.spent == pytest.approx(3 * PRICE)

    def test_knows_what_a_killed_run_had_asked_for(self, tmp_path: Path) -> None:
        killed = Ledger(tmp_path, 0.5, None, "gemini", ())
        for name in ("drawn", "lost"):
            killed.attempt(name, 1).__enter__()
        with killed.attempt("entered", 0) as attempt:
            killed.enter("entered", 0, None, attempt=attempt)
        for _ in range(2):
            after = Ledger(tmp_path, 0.5, None, "gemini", {"drawn", "entered"})
            assert after.spent == 1.5
            assert after.outcomes == {"image": 2, KILLED: 1}
            assert after.refusals("lost") == after.rewordings("lost") == 0

    def test_images_booked_as_refused_by_an_earlier_version_are_asked_for(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        name = next(iter(quick().plan(1, 1).requests))
        entry = {"request": name, "outcome": "undecodable image", "cost": PRICE, "job": ""}
        lines = [json.dumps(entry | {"wording": wording}) + "\n" for wording in range(4)]
        (tmp_path / "attempts.jsonl").write_text("".join(lines))
        assert ask(tmp_path, pairs=1).images == 2
