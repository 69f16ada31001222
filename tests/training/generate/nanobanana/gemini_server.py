"""A local server that speaks the Gemini protocol over real sockets, and fails as asked.

Answer images are phantom radiographs, each with a serial number in its metadata, so that no two are
alike. The server counts what it delivers: that is what would be paid.
"""

import base64
import json
import random
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.training.generate.nanobanana.films import CONVERTED, LOOKS, UNFIT, film, films, rude

KEY = "AIzaTestKeyThatMustNotLeak123"
MODELS = ("gemini-3.8-flash", "gemini-2.5-flash-image", "gemini-nano-banana-2.1")
VERSION = "gemini-nano-banana-2.1-0611"
HANG = 12.0  # seconds; longer than the clients of the tests wait

# Faults before an image is delivered, by how the answer looks.
ERRORS = ("retry-info", "retry-after", "500", "hang", "cut", "half")
REFUSALS = ("blocked", "no candidates", "IMAGE_SAFETY", "SAFETY", "NO_IMAGE", "text only")
BROKEN = ("broken base64", "no image inside")  # delivered, and of no use
NO_ANSWERS = ("redirect", "html", "nothing", "a list", "drip")  # what a proxy may say instead


class GeminiServer(ThreadingHTTPServer):
    """``script`` holds faults for the next answers, in order; then a share ``rate`` of all fail,
    each kind in turn."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.script: list[str] = []
        self.rate = 0.0
        self.kinds: tuple[str, ...] = (*ERRORS, *REFUSALS, *BROKEN, *LOOKS)
        self.random = random.Random(1)
        self.calls: Counter[str] = Counter()  # requests, by what was asked
        self.faults: Counter[str] = Counter()
        self.prompts: list[str] = []
        self.configs: list[dict[str, Any]] = []
        self.cut_submissions = 0  # answers to submissions that get lost, though the jobs run
        self.delivered: list[str] = []  # SHA-256 of every usable image
        self.paid: set[str] = set()  # SHA-256 of everything that was delivered
        self.wasted = 0  # images that were delivered broken
        self.too_early = 0  # requests before the pause that was asked for was over
        self.not_before = 0.0
        self.delay = 0.0  # seconds for every image
        self.busy = self.busiest = 0  # requests for an image at once
        self.error_text = "the server is overloaded"
        self.files: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.looks_until_done = 2  # looks at a batch job before it succeeds; -1 for never
        self.batch_state = "SUCCEEDED"
        self.torn = ""  # a line before the results of a job

    @property
    def url(self) -> str:
        """Base URL for the SDK."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed or lose patience break connections; that is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def next_fault(self) -> str:
        """Fault of the next answer; empty for none."""
        with self.lock:
            if self.script:
                fault = self.script.pop(0)
            elif self.random.random() < self.rate:
                fault = self.kinds[(self.faults.total() - self.faults[""]) % len(self.kinds)]
            else:
                fault = ""
            self.faults[fault] += 1
            return fault

    def answer(self, prompt: str, fault: str) -> dict[str, Any]:
        """A GenerateContentResponse."""
        with self.lock:
            self.prompts.append(prompt)
        if fault == "blocked":
            return {
                "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
                "modelVersion": VERSION,
            }
        if fault == "no candidates":
            return {"modelVersion": VERSION}
        if fault in REFUSALS and fault != "text only":
            return {"candidates": [{"finishReason": fault}], "modelVersion": VERSION}
        if fault == "text only":
            return _response([{"text": "I cannot draw that."}])
        if fault == "two images":
            images = [{"mimeType": "image/png", "data": self._deliver("")} for _ in range(2)]
            return _response([{"inlineData": image} for image in images])
        data = self._deliver(fault)
        image = {"mimeType": "image/png", "data": data}
        draft = {"inlineData": image | {"data": "ZHJhZnQ="}, "thought": True}
        return _response([{"text": "Here you are."}, draft, {"inlineData": image}])

    def _deliver(self, fault: str) -> str:
        """An image in base64, or what stands for one."""
        with self.lock:
            if fault in BROKEN:
                self.wasted += 1
                content = b"!!no base64!!" if fault == "broken base64" else b"GIF"
            elif fault in (*UNFIT, *CONVERTED):
                content = rude(fault, len(self.paid))
            else:
                content = film(len(self.delivered), fault)
                self.delivered.append(sha256(content).hexdigest())
            self.paid.add(sha256(content).hexdigest())
        return content.decode() if fault == "broken base64" else base64.b64encode(content).decode()

    def start_job(self, model: str, batch: dict[str, Any]) -> dict[str, Any]:
        """Run a batch at once; it takes some looks until it says so."""
        lines = self.files[batch["inputConfig"]["fileName"].removeprefix("files/")].splitlines()
        results = [self._result(json.loads(line)) for line in lines]
        with self.lock:
            number = len(self.jobs) + 1
            self.files[f"results-{number}"] = "\n".join(
                [*([self.torn] if self.torn else []), *map(json.dumps, results)]
            ).encode()
            self.jobs[f"batches/{number}"] = {
                "title": batch["displayName"],
                "model": model,
                "looks": 0,
                "results": f"files/results-{number}",
            }
        return self.job(f"batches/{number}")

    def _result(self, line: dict[str, Any]) -> dict[str, Any]:
        fault = self.next_fault()
        if fault in ERRORS:
            return {"key": line["key"], "error": {"code": 14, "message": "unavailable"}}
        prompt = line["request"]["contents"][0]["parts"][0]["text"]
        return {"key": line["key"], "response": self.answer(prompt, fault)}

    def job(self, name: str) -> dict[str, Any]:
        """State of a job, one look later."""
        job = self.jobs[name]
        done = 0 <= self.looks_until_done <= job["looks"]
        job["looks"] += 1
        metadata: dict[str, Any] = {
            "displayName": job["title"],
            "model": job["model"],
            "state": f"BATCH_STATE_{self.batch_state if done else 'RUNNING'}",
        }
        if done and self.batch_state == "SUCCEEDED":
            metadata["output"] = {"responsesFile": job["results"]}
        return {"name": name, "metadata": metadata}


def _response(parts: list[dict[str, Any]]) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    # A field that is newer than the SDK must not disturb it.
    return {"candidates": [candidate], "modelVersion": VERSION, "newerThanTheSdk": {"a": 1}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: GeminiServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        pass

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if not self._authorised():
            return
        if re.fullmatch(r"/v\w+/models", path):
            self._send(_page("models", "models/", query))
        elif re.fullmatch(r"/v\w+/publishers/google/models", path):
            self._send(_page("publisherModels", "publishers/google/models/", query))
        elif re.fullmatch(r"/v\w+/batches", path):
            self.server.calls["list jobs"] += 1
            self._send({"operations": [self.server.job(name) for name in self.server.jobs]})
        elif found := re.fullmatch(r"/v\w+/(batches/\d+)", path):
            self.server.calls["look at job"] += 1
            self._send(self.server.job(found[1]))
        elif found := re.fullmatch(r"/v\w+/files/([\w-]+):download", path):
            self._send(self.server.files[found[1]])
        else:
            self._error(404, "NOT_FOUND", f"no {path}")

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._authorised():
            return
        if path.endswith(":generateContent"):
            self._generate(json.loads(body))
        elif found := re.fullmatch(r"/v\w+/models/([\w.-]+):batchGenerateContent", path):
            self.server.calls["start job"] += 1
            job = self.server.start_job(found[1], json.loads(body)["batch"])
            if self.server.cut_submissions:
                self.server.cut_submissions -= 1
                self.close_connection = True
                return
            self._send(job)
        elif re.fullmatch(r"/upload/v\w+/files", path):
            name = f"input-{len(self.server.files)}"
            assert self.headers["X-Goog-Upload-Protocol"] == "resumable"
            self._send({}, {"X-Goog-Upload-URL": f"{self.server.url}/put/{name}"})
        elif path.startswith("/put/"):
            self._upload(path.removeprefix("/put/"), body)
        else:
            self._error(404, "NOT_FOUND", f"no {path}")

    def _authorised(self) -> bool:
        if self.path.startswith("/put/") or self.headers["x-goog-api-key"] == KEY:
            return True
        self._error(400, "INVALID_ARGUMENT", "API key not valid: " + self.headers["x-goog-api-key"])
        return False

    def _upload(self, name: str, body: bytes) -> None:
        server = self.server
        assert int(self.headers["X-Goog-Upload-Offset"]) == len(server.files.get(name, b""))
        server.files[name] = server.files.get(name, b"") + body
        final = "finalize" in self.headers["X-Goog-Upload-Command"]
        self._send(
            {"file": {"name": f"files/{name}", "sizeBytes": str(len(server.files[name]))}},
            {"X-Goog-Upload-Status": "final" if final else "active"},
        )

    def _generate(self, body: dict[str, Any]) -> None:
        server = self.server
        with server.lock:
            server.calls["draw"] += 1
            server.busy += 1
            server.busiest = max(server.busiest, server.busy)
        time.sleep(server.delay)
        with server.lock:  # before the answer, after which the client may ask again
            server.busy -= 1
        server.configs.append(body["generationConfig"])
        assert body["generationConfig"]["responseModalities"] == ["IMAGE"]
        if time.monotonic() < server.not_before:
            server.too_early += 1
        fault = server.next_fault()
        prompt = body["contents"][0]["parts"][0]["text"]
        if fault in ("cut", "hang"):
            time.sleep(HANG if fault == "hang" else 0)
            self.close_connection = True
        elif fault == "500":
            self._error(500, "INTERNAL", server.error_text)
        elif fault == "400":
            self._error(400, "INVALID_ARGUMENT", server.error_text)
        elif fault == "quota":
            info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "43200s"}
            self._error(429, "RESOURCE_EXHAUSTED", "quota of the day", [info])
        elif fault in ("retry-after", "retry-info"):
            self._ask_to_wait(fault)
        elif fault in NO_ANSWERS:
            self._say_nothing(fault)
        elif fault == "half":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"candidates": [')
            self.close_connection = True
        else:
            self._send(server.answer(prompt, fault))

    def _say_nothing(self, way: str) -> None:
        """What is no answer; ``drip`` never rests, and takes too long as a whole."""
        if way == "redirect":
            self._send({}, {"Location": self.path}, 307)
        elif way == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(1000):
                self.wfile.write(b" ")
                time.sleep(HANG / 1000)
        else:
            self._send({"html": b"<html>Log in</html>", "nothing": b"", "a list": b"[]"}[way])

    def _ask_to_wait(self, way: str) -> None:
        """429 with Retry-After (whole seconds) or google.rpc.RetryInfo."""
        pause = 1.0 if way == "retry-after" else 0.2
        info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{pause}s"}
        details = [info] if way == "retry-info" else []
        headers = {"Retry-After": "1"} if way == "retry-after" else {}
        self._error(429, "RESOURCE_EXHAUSTED", "quota", details, headers)
        self.server.not_before = time.monotonic() + pause - 0.02

    def _error(
        self,
        code: int,
        status: str,
        message: str,
        details: list[Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        error = {"code": code, "message": message, "status": status, "details": details or []}
        self._send({"error": error}, headers, code)

    def _send(self, content: Any, headers: dict[str, str] | None = None, status: int = 200) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _page(field: str, prefix: str, query: str) -> dict[str, Any]:
    """The list of models, in two pages."""
    second = "pageToken=2" in query
    models = [{"name": prefix + name} for name in (MODELS[2:] if second else MODELS[:2])]
    return {field: models} if second else {field: models, "nextPageToken": "2"}


@contextmanager
def serving() -> Iterator[GeminiServer]:
    """Run a server in threads of its own."""
    films()  # before a client can run out of patience
    with GeminiServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
