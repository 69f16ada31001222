"""Files are replaced whole or not at all."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from service.files import PRIVATE, replace_file, replacing, sha256, write_new


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


class TestReplacing:
    def test_file_is_the_new_one_only_at_the_end(self, tmp_path: Path) -> None:
        target = tmp_path / "file"
        target.write_bytes(b"old")
        with replacing(target) as temporary:
            temporary.write_bytes(b"new")
            assert target.read_bytes() == b"old"
        assert target.read_bytes() == b"new"
        assert names(tmp_path) == ["file"]

    def test_failure_leaves_the_old_file_and_nothing_beside_it(self, tmp_path: Path) -> None:
        target = tmp_path / "file"
        target.write_bytes(b"old")

        def write_half() -> None:
            with replacing(target) as temporary:
                temporary.write_bytes(b"half")
                raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            write_half()
        assert target.read_bytes() == b"old"
        assert names(tmp_path) == ["file"]

    def test_what_a_killed_process_left_is_no_hindrance_and_not_followed(
        self, tmp_path: Path
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_bytes(b"kept")
        (tmp_path / f".file.{os.getpid()}").symlink_to(elsewhere)
        replace_file(tmp_path / "file", b"new")
        assert (elsewhere.read_bytes(), (tmp_path / "file").read_bytes()) == (b"kept", b"new")
        assert names(tmp_path) == ["elsewhere", "file"]


class TestReplaceFile:
    def test_text_is_utf8(self, tmp_path: Path) -> None:
        replace_file(tmp_path / "file", "Größe\n")
        assert (tmp_path / "file").read_bytes() == "Größe\n".encode()

    def test_permissions_are_those_of_any_new_file_or_the_private_ones(
        self, tmp_path: Path
    ) -> None:
        plain = tmp_path / "plain"
        plain.touch()
        for name, mode in (("file", None), ("key", PRIVATE)):
            replace_file(tmp_path / name, b"", **({} if mode is None else {"mode": mode}))
            wanted = plain.stat().st_mode if mode is None else stat.S_IFREG | mode
            assert (tmp_path / name).stat().st_mode == wanted

    def test_private_file_is_private_before_its_first_byte(self, tmp_path: Path) -> None:
        with replacing(tmp_path / "key", mode=PRIVATE) as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == PRIVATE


class TestWriteNew:
    def test_never_touches_another_s_file_and_leaves_nothing_behind(self, tmp_path: Path) -> None:
        target = tmp_path / "object.dcm"
        assert write_new(target, b"first")
        assert not write_new(target, b"second")
        assert target.read_bytes() == b"first"
        assert list(tmp_path.iterdir()) == [target]


class TestSha256:
    def test_file_and_bytes_have_the_digest_of_the_content(self, tmp_path: Path) -> None:
        content = bytes(range(256)) * 1000
        (tmp_path / "file").write_bytes(content)
        expected = hashlib.sha256(content).hexdigest()
        assert sha256(content) == sha256(tmp_path / "file") == expected
