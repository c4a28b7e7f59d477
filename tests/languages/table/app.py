"""Has answer.py answer the requests of wasi:http 0.2."""

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import types as http
from wit_world.imports.streams import StreamError_Closed

from answer import answer

READ_BYTES = 64 * 1024
WRITE_BYTES = 4096  # what `blocking_write_and_flush` takes at most


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: http.IncomingRequest, response_out: http.ResponseOutparam) -> None:
        method = type(request.method()).__name__.removeprefix("Method_").upper()
        fields = request.headers().entries()
        reply = answer(method, request.path_with_query() or "/", fields, body(request))
        response = http.OutgoingResponse(http.Fields.from_list(reply.fields))
        response.set_status_code(reply.status)
        outgoing = response.body()
        http.ResponseOutparam.set(response_out, Ok(response))
        with outgoing.write() as stream:
            for at in range(0, len(reply.body), WRITE_BYTES):
                stream.blocking_write_and_flush(reply.body[at : at + WRITE_BYTES])
        http.OutgoingBody.finish(outgoing, None)


def body(request: http.IncomingRequest) -> bytes:
    whole = bytearray()
    incoming = request.consume()
    with incoming.stream() as stream:
        try:
            while True:
                whole += stream.blocking_read(READ_BYTES)
        except Err as end:
            if not isinstance(end.value, StreamError_Closed):
                raise
    http.IncomingBody.finish(incoming)
    return bytes(whole)
