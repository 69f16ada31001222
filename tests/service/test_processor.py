import platform
from pathlib import Path

import pytest

from service.processor import CPUINFO, this_processor

CORE = """processor\t: {core}
model name\t: Some Processor @ 2.50GHz
flags\t\t: fpu sse2 avx2 avx512_vnni {more}
"""


def cpuinfo(folder: Path, more: str = "") -> Path:
    path = folder / "cpuinfo"
    path.write_text("\n".join(CORE.format(core=core, more=more) for core in range(2)))
    return path


def test_names_the_processor_what_it_has_and_what_it_lacks(tmp_path: Path) -> None:
    found = this_processor(cpuinfo(tmp_path), "x86_64")
    assert found.features == ("AVX2", "AVX-512 VNNI")
    assert str(found) == (
        "Some Processor @ 2.50GHz (has AVX2, AVX-512 VNNI; lacks AVX-VNNI, AVX-512 BF16, AMX BF16)"
    )


def test_every_feature_is_told_apart(tmp_path: Path) -> None:
    found = this_processor(cpuinfo(tmp_path, "avx_vnni avx512_bf16 amx_bf16"), "x86_64")
    assert str(found).endswith("AVX-VNNI, AVX-512 BF16, AMX BF16; lacks none)")


@pytest.mark.parametrize("machine", ["aarch64", "arm64"])
def test_other_architectures_have_their_name_alone(tmp_path: Path, machine: str) -> None:
    assert str(this_processor(cpuinfo(tmp_path), machine)) == machine


def test_system_that_does_not_tell_has_the_architecture_alone(tmp_path: Path) -> None:
    assert str(this_processor(tmp_path / "missing", "AMD64")) == "AMD64"


@pytest.mark.skipif(not CPUINFO.exists(), reason="not Linux")
def test_this_machine_is_described() -> None:
    found = this_processor()
    assert found.name
    assert (found.features is not None) == (platform.machine() == "x86_64")
