"""The worker: reads each request of wasi:http 0.3, and writes what answer.py answers."""

import componentize_py_async_support
from componentize_py_types import Ok
from wit_world import byte_stream, exports
from wit_world import (
    result_option_wasi_http_types_fields_wasi_http_types_error_code_future as trailers,
    result_unit_wasi_http_types_error_code_future as outcome,
)
from wit_world.imports import wasi_http_types as http

from answer import answer

PIECE_BYTES = 64 * 1024  # the largest piece of a body that is asked for at a time


class Handler(exports.Handler):
    async def handle(self, request: http.Request) -> http.Response:
        method, target = request.get_method(), request.get_path_with_query() or "/"
        fields = request.get_headers().copy_all()
        reply = answer(name(method), target, fields, await body(request))

        writer, reader = byte_stream()
        head = http.Fields.from_list(reply.fields)
        response, _sent = http.Response.new(head, reader, trailers(lambda: Ok(None))[1])
        response.set_status_code(reply.status)
        # The host takes the body once it has the response.
        componentize_py_async_support.spawn(write(writer, reply.body))
        return response


def name(method: http.Method) -> str:
    """`GET` for `Method_Get`; any other method carries its name."""
    match method:
        case http.Method_Other(value):
            return value
        case _:
            return type(method).__name__.removeprefix("Method_").upper()


async def body(request: http.Request) -> bytes:
    reader, _trailers = http.Request.consume_body(request, outcome(lambda: Ok(None))[1])
    whole = bytearray()
    with reader:
        while not reader.writer_dropped:
            whole += await reader.read(PIECE_BYTES)
    return bytes(whole)


async def write(writer, whole: bytes) -> None:
    with writer:
        await writer.write_all(whole)
