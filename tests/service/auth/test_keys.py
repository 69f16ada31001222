import hashlib
import hmac
import logging
import os
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.auth import keys
from service.auth.keys import KeyFile, add_key, hash_of
from tests.sources import ROOT


@pytest.fixture(autouse=True)
def looks_at_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "LOOK_AGAIN_SECONDS", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.txt"


class TestAddKey:
    def test_file_holds_the_hash_and_not_the_key(self, path: Path) -> None:
        key = add_key(path, "radiology", None)
        text = path.read_text()
        assert key not in text
        assert hashlib.sha256(key.encode()).hexdigest() in text

    def test_file_is_for_its_owner_only(self, path: Path) -> None:
        add_key(path, "radiology", None)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(path.parent.iterdir()) == [path]

    def test_keys_differ_and_older_lines_stay(self, path: Path) -> None:
        first, second = add_key(path, "a", None), add_key(path, "b", 30)
        file = KeyFile(path)
        assert first != second
        assert (file.owner(first), file.owner(second)) == ("a", "b")

    @pytest.mark.parametrize("name", ["radiology", "two words", "", "a#b"])
    def test_taken_or_malformed_name_is_refused(self, path: Path, name: str) -> None:
        add_key(path, "radiology", None)
        with pytest.raises(ValueError, match="taken"):
            add_key(path, name, None)

    @pytest.mark.parametrize("days", [-5, 0, 36_501, 99_999_999])
    def test_time_that_is_over_or_never_ends_is_refused(self, path: Path, days: int) -> None:
        with pytest.raises(ValueError, match=f"1 to 36500 days, not {days}"):
            add_key(path, "a", days)
        assert not path.exists()

    def test_command_prints_the_key_once(self, path: Path) -> None:
        command = [sys.executable, "-m", "service.auth.keys", "new", "ward-3", "--file", str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert KeyFile(path).owner(done.stdout.strip()) == "ward-3"
        again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert again.returncode == 2
        assert "taken" in again.stderr
        assert again.stdout == ""


class TestKeyFile:
    def test_nobody_owns_another_key(self, path: Path) -> None:
        key = add_key(path, "a", None)
        for other in ("", key[:-1], key + "x", key.upper(), "ключ", "a"):
            assert KeyFile(path).owner(other) is None

    def test_last_day_is_valid_and_the_next_is_not(self, path: Path) -> None:
        today = datetime.now(UTC).date()
        days = {"today": today, "over": today - timedelta(days=1)}
        path.write_text("".join(f"{name} {hash_of(name)} {day}\n" for name, day in days.items()))
        assert KeyFile(path).owner("today") == "today"
        assert KeyFile(path).owner("over") is None

    def test_new_key_is_valid_without_restart_and_a_deleted_one_is_not(self, path: Path) -> None:
        first = add_key(path, "first", None)
        file = KeyFile(path)
        second = add_key(path, "second", None)
        assert (file.owner(first), file.owner(second)) == ("first", "second")
        path.write_text("".join(line for line in path.open() if not line.startswith("first")))
        assert (file.owner(first), file.owner(second)) == (None, "second")

    def test_replaced_file_of_equal_size_and_time_is_read(self, path: Path) -> None:
        first = add_key(path, "first", None)
        file, status = KeyFile(path), path.stat()
        other = path.with_name("other")
        second = add_key(other, "first", None)
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.replace(path)
        assert (file.owner(first), file.owner(second)) == (None, "first")

    @pytest.mark.parametrize("broken", ["key without digest\n", "name 1234\n", "\xff\xfe"])
    def test_broken_file_keeps_the_old_keys_and_is_logged_once(
        self, path: Path, broken: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        key = add_key(path, "a", None)
        file = KeyFile(path)
        path.write_text(broken, encoding="latin-1")
        with caplog.at_level(logging.ERROR, "nanocxr"):
            assert [file.owner(key) for _ in range(3)] == ["a"] * 3
        assert len(caplog.records) == 1
        assert "without" not in caplog.text  # what stands in the line may be a key

    def test_folder_that_cannot_be_looked_into_keeps_the_old_keys(self, path: Path) -> None:
        key = add_key(path, "a", None)
        file = KeyFile(path)
        elsewhere = path.rename(path.with_name("elsewhere"))
        path.symlink_to(path)  # a loop: the file may be there, and nobody can tell
        assert [file.owner(key) for _ in range(3)] == ["a"] * 3
        elsewhere.replace(path)
        assert file.owner(key) == "a"

    def test_removed_file_admits_nobody_from_the_second_look_on(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        key = add_key(path, "a", None)
        file, text = KeyFile(path), path.read_bytes()
        path.unlink()
        with caplog.at_level(logging.WARNING, "nanocxr"):
            assert [file.owner(key) for _ in range(4)] == ["a", None, None, None]
        assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
        path.write_bytes(text)
        assert file.owner(key) == "a"

    def test_file_that_is_gone_for_a_moment_locks_nobody_out(self, path: Path) -> None:
        first, second = add_key(path, "first", None), add_key(path, "second", None)
        file = KeyFile(path)
        text = path.read_text()
        for _ in range(3):
            path.unlink()
            assert file.owner(first) == "first"
            path.write_text(text)
            assert file.owner(second) == "second"

    def test_removal_is_looked_at_twice_a_second_apart(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [100.0]
        monkeypatch.setattr(keys, "LOOK_AGAIN_SECONDS", 1.0)
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        key = add_key(path, "a", None)
        file = KeyFile(path)
        path.unlink()
        answers = []
        for now[0] in (101.0, 101.9, 102.0):
            answers.append(file.owner(key))
        assert answers == ["a", "a", None]

    def test_empty_file_admits_nobody(self, path: Path) -> None:
        key = add_key(path, "a", None)
        file = KeyFile(path)
        path.write_text("# nobody\n")
        assert file.owner(key) is None

    @pytest.mark.parametrize(
        "text", ["cxr_x", "a b c d", "a " + "0" * 63, f"a {'0' * 64} soon", f"a/b {'0' * 64}"]
    )
    def test_malformed_line_is_named_at_start_and_not_quoted(self, path: Path, text: str) -> None:
        path.write_text(f"# comment\n\n{text}\n")
        with pytest.raises(ValueError, match=r"line 3 of .*keys\.txt is not `name sha256") as error:
            KeyFile(path)
        assert text not in str(error.value)

    def test_missing_file_is_an_error_at_start(self, path: Path) -> None:
        with pytest.raises(ValueError, match="cannot be read"):
            KeyFile(path)

    def test_every_entry_is_compared(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        key = add_key(path, "first", None)
        for name in "bcd":
            add_key(path, name, None)
        compared = []
        compare = hmac.compare_digest

        def counting(a: str, b: str) -> bool:
            compared.append(a)
            return bool(compare(a, b))

        monkeypatch.setattr(hmac, "compare_digest", counting)
        assert KeyFile(path).owner(key) == "first"
        assert len(compared) == 4
