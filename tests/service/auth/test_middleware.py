import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.auth.keys import add_key
from service.auth.middleware import Guard, is_local
from service.http.places import CLIENT, client_of
from service.settings import Settings
from tests.factories import png_bytes
from tests.serving import problem, serving

ORIGIN = "https://pacs.example"
ELSEWHERE = "192.0.2.1"


def predict(client: Any, **headers: str) -> Any:
    return client.post("/predict", files={"image": png_bytes()}, headers=headers)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.txt"


class TestKeys:
    def test_valid_key_is_admitted_by_any_of_several(self, tiny_model: Path, keys: Path) -> None:
        several = [add_key(keys, name, None) for name in "abc"]
        with serving(tiny_model, address=ELSEWHERE, CXR_API_KEYS=keys) as client:
            for key in several:
                assert predict(client, Authorization=f"Bearer {key}").status_code == 200
            assert predict(client, Authorization=f"bearer  {several[0]}").status_code == 200

    def test_no_key_and_a_wrong_one_are_told_apart(self, tiny_model: Path, keys: Path) -> None:
        key = add_key(keys, "a", None)
        with serving(tiny_model, CXR_API_KEYS=keys) as client:
            none = predict(client)
            assert problem(none) == (401, "unauthorized")
            assert none.headers["WWW-Authenticate"] == 'Bearer realm="nanocxr"'
            for wrong in (f"Bearer {key}x", f"Basic {key}", key, "Bearer", "Bearer "):
                answer = predict(client, Authorization=wrong)
                assert problem(answer) == (401, "unauthorized")
                assert answer.headers["WWW-Authenticate"].endswith('error="invalid_token"')
                assert key not in answer.text

    def test_everything_but_probes_pages_and_the_description_needs_a_key(
        self, tiny_model: Path, keys: Path
    ) -> None:
        add_key(keys, "a", None)
        closed = ["/model", "/metrics", "/schema.json", "/nope", "//livez", "/livez/", "//",
                  "/uix", "/predict", "/LIVEZ", "/v1", "/v1/model", "/v1/metrics", "/docs/",
                  "/v1/v1/docs", "/static_contents"]  # fmt: skip
        described = ["/", "/docs", "/docs.js", "/docs.json", "/openapi.json", "/v1/openapi.json",
                     "/static_content/swagger-ui.css"]  # fmt: skip
        with serving(tiny_model, CXR_API_KEYS=keys) as client:
            for path in closed:
                answer = client.get(f"http://127.0.0.1{path}")
                assert problem(answer) == (401, "unauthorized"), path
            for path in ("/livez", "/readyz", "/healthz", "/v1/livez", *described):
                assert client.get(path).status_code == 200
            for path in ("/ui", "/ui/"):
                assert client.get(path).status_code != 401

    def test_refusals_are_counted_in_the_log_without_a_key(
        self, tiny_model: Path, keys: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        key = add_key(keys, "a", None)
        with (
            caplog.at_level(logging.DEBUG),
            serving(tiny_model, CXR_API_KEYS=keys) as client,
        ):
            for _ in range(9):
                client.get("/model", headers={"Authorization": f"Bearer {key}wrong"})
        counts = [r.args for r in caplog.records if "without a valid API key" in r.message]
        assert counts == [(1,), (2,), (4,), (8,)]
        assert key not in caplog.text

    def test_unusable_file_ends_the_start(self, tiny_model: Path, keys: Path) -> None:
        with (
            pytest.raises(ValueError, match="cannot be read"),
            serving(tiny_model, CXR_API_KEYS=keys),
        ):
            pass

    def test_key_that_was_given_for_the_file_is_not_quoted(self) -> None:
        with pytest.raises(ValueError, match="holds a key instead of a path") as caught:
            Guard(Settings(model=Path(), api_keys=Path("cxr_secret")))
        assert "secret" not in str(caught.value)


class TestBeyondLoopback:
    def test_nothing_but_probes_answers_without_keys(self, tiny_model: Path) -> None:
        with serving(tiny_model, address=ELSEWHERE) as client:
            assert problem(predict(client)) == (403, "keys_required")
            assert problem(client.get("/metrics")) == (403, "keys_required")
            assert client.get("/livez").status_code == 200

    def test_forwarded_headers_do_not_help(self, tiny_model: Path) -> None:
        local = {"Host": "localhost", "X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
        with serving(tiny_model, address=ELSEWHERE) as client:
            assert problem(predict(client, **local)) == (403, "keys_required")

    def test_loopback_and_explicit_permission_answer(self, tiny_model: Path) -> None:
        with serving(tiny_model) as client:
            assert predict(client).status_code == 200
        with serving(tiny_model, address=ELSEWHERE, CXR_ALLOW_ANONYMOUS="true") as client:
            assert predict(client).status_code == 200

    @pytest.mark.parametrize(
        ("server", "local"),
        [
            (("127.0.0.1", 80), True),
            (("127.9.9.9", 80), True),
            (("::1", 80), True),
            (("::ffff:127.0.0.1", 80), True),
            (("localhost", 80), True),
            (("/run/nanocxr.sock", None), True),
            (("0.0.0.0", 80), False),
            (("::", 80), False),
            (("10.0.0.1", 80), False),
            (("::ffff:10.0.0.1", 80), False),
            (("example.org", 80), False),
            (None, False),
        ],
    )
    def test_local_is_what_only_this_computer_reaches(
        self, server: tuple[str, int | None] | None, *, local: bool
    ) -> None:
        assert is_local(server) is local


class TestClient:
    @pytest.mark.parametrize(
        ("host", "client"),
        [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
            ("2001:db8:0:1:ffff::9", "2001:db8:0:1::/64"),
            ("2001:db8:0:2::1", "2001:db8:0:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("ward-3", "ward-3"),  # of a proxy
        ],
    )
    def test_without_keys_is_an_address(self, host: str, client: str) -> None:
        assert client_of({"client": (host, 4711)}) == client

    def test_of_a_unix_socket_is_one(self) -> None:
        assert client_of({"client": None}) == ""

    def test_with_keys_is_the_owner_wherever_he_is(self, keys: Path) -> None:
        several = {name: add_key(keys, name, None) for name in ("ward", "archive")}
        guard = Guard(Settings(model=keys, api_keys=keys))
        for name, key in several.items():
            scope = {
                "path": "/predict",
                "headers": [(b"authorization", f"Bearer {key}".encode())],
                "client": ("192.0.2.1", 4711),
            }
            guard.admit(scope)
            assert client_of(scope) == scope[CLIENT] == name


class TestFraming:
    BOTH = {"Transfer-Encoding": "chunked", "Content-Length": "5"}

    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, tiny_model: Path) -> Iterator[Any]:
        with serving(tiny_model, CXR_CORS_ORIGINS=ORIGIN) as client:
            yield client

    @pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
    @pytest.mark.parametrize("path", ["/predict", "/livez", "/ui/", "/nope"])
    def test_two_lengths_of_a_body_are_refused(self, client: Any, method: str, path: str) -> None:
        preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        answer = client.request(method, path, content=b"a" * 5, headers=self.BOTH | preflight)
        assert problem(answer) == (400, "malformed_body")
        assert answer.headers["Connection"] == "close"

    @pytest.mark.parametrize("name", BOTH)
    def test_one_is_enough(self, client: Any, name: str) -> None:
        answer = client.get("/model", headers={name: self.BOTH[name]})
        assert answer.status_code == 200
        assert "Connection" not in answer.headers


class TestCrossOrigin:
    def test_off_by_default(self, tiny_model: Path) -> None:
        with serving(tiny_model) as client:
            answer = predict(client, Origin=ORIGIN)
            assert answer.status_code == 200
            assert "access-control-allow-origin" not in answer.headers
            asked = client.options(
                "/predict", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
            )
            assert problem(asked) == (405, "method_not_allowed")

    def test_listed_origin_may_send_a_key_and_another_may_not(
        self, tiny_model: Path, keys: Path
    ) -> None:
        key = add_key(keys, "a", None)
        question = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": (
                "authorization, content-type, if-none-match, traceparent, x-request-id"
            ),
        }
        origins = f"https://a.example, {ORIGIN}"
        with serving(tiny_model, CXR_API_KEYS=keys, CXR_CORS_ORIGINS=origins) as client:
            allowed = client.options("/predict", headers={"Origin": ORIGIN, **question})
            assert allowed.status_code == 200
            assert allowed.headers["access-control-allow-origin"] == ORIGIN
            other = client.options("/predict", headers={"Origin": "https://b.example", **question})
            assert other.status_code == 400
            assert "access-control-allow-origin" not in other.headers
            answer = predict(client, Origin=ORIGIN, Authorization=f"Bearer {key}")
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            shown = set(answer.headers["access-control-expose-headers"].split(", "))
            assert {"X-Rows", "X-Columns", "X-Request-Id", "X-Probability", "ETag"} <= shown
            assert "X-Intended-Use" in shown
            refused = predict(client, Origin=ORIGIN)
            assert problem(refused) == (401, "unauthorized")
            assert refused.headers["access-control-allow-origin"] == ORIGIN


class TestHeaders:
    def test_readings_are_not_stored_nor_sniffed(self, tiny_model: Path) -> None:
        with serving(tiny_model) as client:
            for answer in (predict(client), client.get("/docs.json"), client.get("/nope")):
                assert answer.headers["cache-control"] == "no-store"
                assert answer.headers["x-content-type-options"] == "nosniff"

    def test_pages_load_nothing_from_elsewhere_and_are_not_framed(self, tiny_model: Path) -> None:
        with serving(tiny_model) as client:
            policy = client.get("/").headers["content-security-policy"]
            assert "default-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "content-security-policy" not in client.get("/docs.json").headers
            style = client.get("/static_content/swagger-ui.css")
            assert style.headers.get("cache-control") != "no-store"
