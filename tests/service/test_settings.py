from pathlib import Path

import pytest

from service.model.shipped import default_model
from service.settings import Settings


class TestFromEnv:
    def test_without_variables_the_default_model_is_served(self) -> None:
        settings = Settings.from_env({})
        assert settings.model.parts[-3:] == ("models", "default", "1")
        assert settings == Settings(model=settings.model)

    def test_empty_variable_is_none(self) -> None:
        assert Settings.from_env({"CXR_MODEL": ""}).model == default_model()

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
