import re
from pathlib import Path

import pytest

from service.model.shipped import default_model
from service.settings import KNOWN, MOST, SettingError, Settings, unknown_variables
from tests.sources import ROOT

PLACES = (
    "service", "clients", "training", "deploy", "benchmarks", "docs", "Makefile", "README.md",
    "CHANGELOG.md", "CONTRIBUTING.md",
)  # fmt: skip
TEXTS = {".py", ".md", ".yaml", ".toml", ".js", ".html", ".sh", ""}
VARIABLE = re.compile(r"(?<![A-Z])CXR_[A-Z_]*[A-Z]")


class TestFromEnv:
    def test_without_variables_the_default_model_is_served(self) -> None:
        settings = Settings.from_env({})
        assert settings.model == default_model()
        assert settings == Settings(model=settings.model)

    def test_every_variable_is_read(self) -> None:
        settings = Settings.from_env(
            {
                "CXR_MODEL": "/m",
                "CXR_MAX_BYTES": "1",
                "CXR_MAX_PIXELS": "2",
                "CXR_MAX_BATCH": "3",
                "CXR_MAX_UPLOAD_BYTES": "4",
                "CXR_MAX_REQUESTS": "5",
                "CXR_THREADS": "0",
                "CXR_PROVIDER": "cpu",
                "CXR_API_KEYS": "/keys",
                "CXR_ALLOW_ANONYMOUS": "true",
                "CXR_CORS_ORIGINS": "https://a.example, http://b.example:8080",
                "CXR_MODEL_KEY": "/key.pub",
                "CXR_CALIBRATION": "/site.json",
            }
        )
        assert settings.model == Path("/m")
        assert (settings.limits.max_bytes, settings.limits.max_pixels) == (1, 2)
        assert (settings.max_batch, settings.max_upload_bytes) == (3, 4)
        assert (settings.max_requests, settings.threads) == (5, 0)
        assert settings.provider == "cpu"
        assert (settings.api_keys, settings.model_key) == (Path("/keys"), Path("/key.pub"))
        assert settings.calibration == Path("/site.json")
        assert settings.allow_anonymous
        assert settings.cors_origins == ("https://a.example", "http://b.example:8080")

    @pytest.mark.parametrize("text", ["", "0", "-1", "1e3", "many", "1.5"])
    def test_malformed_value_names_the_variable(self, text: str) -> None:
        with pytest.raises(ValueError, match="CXR_MAX_BATCH"):
            Settings.from_env({"CXR_MAX_BATCH": text})

    @pytest.mark.parametrize("name", MOST)
    def test_number_has_bounds(self, name: str) -> None:
        Settings.from_env({name: str(MOST[name])})
        for text in (str(MOST[name] + 1), "9" * 5000, "-1", "1_0", "\N{ARABIC-INDIC DIGIT FOUR}"):
            with pytest.raises(SettingError) as caught:
                Settings.from_env({name: text})
            said = str(caught.value)
            assert re.match(
                rf"{name}='.*' is no integer from [0-9]+ to {MOST[name]}\. Correct", said
            )
            assert len(said) < 200

    def test_memory_is_at_least_what_the_service_takes_without_a_film(self) -> None:
        with pytest.raises(SettingError, match="CXR_MEMORY='2147'"):  # MiB, or so somebody thought
            Settings.from_env({"CXR_MEMORY": "2147"})

    def test_empty_folder_is_not_the_working_directory(self) -> None:
        with pytest.raises(SettingError, match="CXR_MODEL=''"):
            Settings.from_env({"CXR_MODEL": ""})

    @pytest.mark.parametrize("name", ["CXR_API_KEYS", "CXR_MODEL_KEY", "CXR_CALIBRATION"])
    def test_empty_file_takes_no_protection_away(self, name: str) -> None:
        with pytest.raises(SettingError, match=f"{name}='' is no file"):
            Settings.from_env({name: ""})

    @pytest.mark.parametrize("text", ["", "CPU", "gpu", "CUDAExecutionProvider"])
    def test_unknown_provider_names_the_variable(self, text: str) -> None:
        with pytest.raises(ValueError, match="CXR_PROVIDER"):
            Settings.from_env({"CXR_PROVIDER": text})

    @pytest.mark.parametrize("text", ["yes", "1", "True"])
    def test_permission_is_true_or_false_and_nothing_like_it(self, text: str) -> None:
        with pytest.raises(ValueError, match="CXR_ALLOW_ANONYMOUS"):
            Settings.from_env({"CXR_ALLOW_ANONYMOUS": text})

    @pytest.mark.parametrize("text", ["a.example", "https://a.example/", "https://*.example"])
    def test_malformed_origin_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="CXR_CORS_ORIGINS"):
            Settings.from_env({"CXR_CORS_ORIGINS": text})


class TestKnownVariables:
    def test_every_name_in_code_and_documents_is_known(self) -> None:
        named = {
            name: path.name
            for place in PLACES
            for path in (ROOT / place, *(ROOT / place).rglob("*"))
            if path.is_file() and path.suffix in TEXTS
            for name in VARIABLE.findall(path.read_text())
        }
        assert named.keys() == KNOWN, {n: named.get(n) for n in named.keys() ^ KNOWN}

    def test_bounds_in_the_document_are_those_of_the_code(self) -> None:
        page = (ROOT / "docs" / "api.md").read_text()
        rows = re.findall(r"^\| `(CXR_\w+)` \| ([\d,]+) \|", page, re.MULTILINE)
        most = {name: int(number.replace(",", "")) for name, number in rows if "," in number}
        assert most == MOST


class TestUnknownVariables:
    def test_known_ones_and_those_of_others_are_passed_over(self) -> None:
        assert not list(unknown_variables(dict.fromkeys([*KNOWN, "PATH", "NANOCXR_X"], "")))

    @pytest.mark.parametrize(
        ("name", "near"),
        [
            ("CXR_MODLE", "CXR_MODEL"),
            ("CXR_MAXBYTES", "CXR_MAX_BYTES"),
            ("cxr_threads", "CXR_THREADS"),
            ("CXR_ALLOW_ANONYMUOS", "CXR_ALLOW_ANONYMOUS"),
        ],
    )
    def test_nearest_name_is_told_and_never_the_value(self, name: str, near: str) -> None:
        (said,) = unknown_variables({name: "secret"})
        assert said == f"The variable {name} has no effect: did you mean {near}?"

    def test_name_that_is_like_none(self) -> None:
        (said,) = unknown_variables({"CXR_SERVICE_HOST": "10.0.0.1"})
        assert said.startswith("The variable CXR_SERVICE_HOST has no effect: docs/api.md")
