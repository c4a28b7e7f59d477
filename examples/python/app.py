"""A worker in Python, for wasi:http 0.2: figures about the numbers in a body."""

import json
import statistics

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import types as http
from wit_world.imports.streams import StreamError_Closed

PIECE_BYTES = 4096  # what `blocking_write_and_flush` takes at most


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: http.IncomingRequest, response_out: http.ResponseOutparam) -> None:
        match type(request.method()).__name__, request.path_with_query():
            case "Method_Get", "/":
                answer(response_out, 200, "text/plain", "hello from Python\n")
            case "Method_Post", "/figures":
                status, figures = describe(body(request))
                answer(response_out, status, "application/json", json.dumps(figures) + "\n")
            case _:
                answer(response_out, 404, "text/plain", "GET / or POST /figures\n")


def describe(text: bytes) -> tuple[int, dict]:
    try:
        numbers = [float(word) for word in text.decode().split()]
        return 200, {"mean": statistics.fmean(numbers), "median": statistics.median(numbers)}
    except ValueError as error:
        return 400, {"error": str(error)}


def body(request: http.IncomingRequest) -> bytes:
    whole = bytearray()
    incoming = request.consume()
    with incoming.stream() as stream:
        try:
            while True:
                whole += stream.blocking_read(PIECE_BYTES)
        except Err as end:
            if not isinstance(end.value, StreamError_Closed):
                raise
    http.IncomingBody.finish(incoming)
    return bytes(whole)


def answer(out: http.ResponseOutparam, status: int, kind: str, text: str) -> None:
    response = http.OutgoingResponse(http.Fields.from_list([("content-type", kind.encode())]))
    response.set_status_code(status)
    outgoing = response.body()
    http.ResponseOutparam.set(out, Ok(response))
    # The host sends the head from here on, and the body as it is written.
    whole = text.encode()
    with outgoing.write() as stream:
        for at in range(0, len(whole), PIECE_BYTES):
            stream.blocking_write_and_flush(whole[at : at + PIECE_BYTES])
    http.OutgoingBody.finish(outgoing, None)
