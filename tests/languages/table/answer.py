"""The table of behaviour, for any world."""

from dataclasses import dataclass, field


@dataclass
class Answer:
    status: int
    body: bytes
    fields: list[tuple[str, bytes]] = field(default_factory=list)


def answer(method: str, target: str, fields: list[tuple[str, bytes]], body: bytes) -> Answer:
    path, _, query = target.partition("?")
    path = path.removeprefix("/table")
    if path.startswith("/target/"):
        return Answer(200, target.encode())
    match path:
        case "/echo":
            return Answer(200, body)
        case "/method":
            return Answer(200, method.encode())
        case "/fields":
            values = [value for name, value in fields if name.lower() == "x-test"]
            return Answer(200, b", ".join(values), [("set-cookie", b"a=1"), ("set-cookie", b"b=2")])
        case "/status":
            return Answer(int(query), b"")
        case "/crash":
            raise RuntimeError("as asked")
        case "/spin":
            while True:
                pass
        case "/memory":
            kept = []
            while True:
                kept.append(bytes(1 << 20))
    return Answer(404, b"")
