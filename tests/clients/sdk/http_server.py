"""A real HTTP server on a free port that answers as it is told and remembers what it was asked."""

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from threading import Thread


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    when: Callable[[], object] = bool  # called before the answer is sent; may wait

    @classmethod
    def json(cls, content: object, status: int = 200, **headers: str) -> "Answer":
        return cls(status=status, body=json.dumps(content).encode(), headers=headers)

    @classmethod
    def problem(cls, status: int, code: str, detail: str = "why") -> "Answer":
        body = {"type": "about:blank", "title": "t", "status": status, "detail": detail}
        return cls.json({**body, "code": code}, status)


@dataclass
class Part:
    field: str
    filename: str
    content: bytes


@dataclass
class Asked:
    method: str
    path: str
    parts: list[Part]
    authorization: str | None


class Server:
    """Answers for a path come in order; the last one is given again and again."""

    def __init__(self) -> None:
        self.answers: dict[str, deque[Answer]] = {}
        self.asked: list[Asked] = []
        self.url = ""

    def on(self, path: str, *answers: Answer) -> None:
        self.answers[path] = deque(answers)

    def next_answer(self, path: str) -> Answer:
        queue = self.answers.get(path.partition("?")[0])
        if queue is None:
            return Answer(status=404, body=b"<html>no such page</html>")
        return queue.popleft() if len(queue) > 1 else queue[0]


def _parts(content_type: str, body: bytes) -> list[Part]:
    if not content_type.startswith("multipart/"):
        return []
    message = BytesParser(policy=HTTP).parsebytes(
        f"Content-Type: {content_type}\r\n\r\n".encode() + body
    )
    return [
        Part(
            field=str(part.get_param("name", header="content-disposition")),
            filename=str(part.get_filename()),
            content=bytes(part.get_payload(decode=True) or b""),
        )
        for part in message.iter_parts()
    ]


@contextmanager
def running_server(tls: SSLContext | None = None) -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = _parts(self.headers.get("Content-Type", ""), body)
            authorization = self.headers.get("Authorization")
            server.asked.append(Asked(self.command, self.path, parts, authorization))
            answer = server.next_answer(self.path)
            answer.when()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep the output of tests clean."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        listener.socket = tls.wrap_socket(listener.socket, server_side=True)
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.server_port}"
    thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
