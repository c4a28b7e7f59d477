"""What this worker answers: a function, which `make test` tests without wasm and without a host."""

from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit


@dataclass
class Answer:
    status: int
    body: bytes
    fields: list[tuple[str, bytes]] = field(default_factory=list)


def answer(method: str, target: str, fields: list[tuple[str, bytes]], body: bytes) -> Answer:
    """Answers a request: its target is path and query as they were sent, its body is whole."""
    url = urlsplit(target)
    if url.path != "/":
        return text(404, "There is nothing here.\n")
    name = parse_qs(url.query).get("name", ["you"])[0]
    return text(200, f"hello, {name}\n")


def text(status: int, body: str) -> Answer:
    return Answer(status, body.encode(), [("content-type", b"text/plain; charset=utf-8")])
