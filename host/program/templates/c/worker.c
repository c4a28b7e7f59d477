// A worker: one function from a request to its response. bindings/handler.h has its types and all
// that it can ask the host for; both are generated from wit/.

#include <stdlib.h>
#include <string.h>

#include "bindings/handler.h"
#include "greeting.h"

static bool is(handler_string_t text, const char *other) {
    return text.len == strlen(other) && memcmp(text.ptr, other, text.len) == 0;
}

/// A response of plain text. It owns copies of everything: the bindings free them.
static void text(handler_response_t *response, uint16_t status, const char *bytes, size_t count) {
    handler_string_t type, body;
    handler_string_dup(&type, "text/plain; charset=utf-8");
    handler_string_dup_n(&body, bytes, count);

    response->status = status;
    response->headers.len = 1;
    response->headers.ptr = malloc(sizeof *response->headers.ptr);
    if (response->headers.ptr == NULL) abort(); // this request fails, and no other
    handler_string_dup(&response->headers.ptr[0].name, "content-type");
    response->headers.ptr[0].value = (handler_list_u8_t){ .ptr = type.ptr, .len = type.len };
    response->body.tag = WASM_POOL_WORKER_HTTP_BODY_BYTES;
    response->body.val.bytes = (handler_list_u8_t){ .ptr = body.ptr, .len = body.len };
}

/// `value` of `name=value`, if that is the whole query; still percent-encoded.
static bool parameter(const handler_request_t *request, const char *name, handler_string_t *value) {
    size_t length = strlen(name);
    handler_string_t query = request->query.val;
    if (!request->query.is_some || query.len <= length) return false;
    if (memcmp(query.ptr, name, length) != 0 || query.ptr[length] != '=') return false;
    *value = (handler_string_t){ .ptr = query.ptr + length + 1, .len = query.len - length - 1 };
    return true;
}

void exports_handler_handle(handler_request_t *request, handler_response_t *response) {
    if (is(request->path, "/")) {
        handler_string_t name;
        if (!parameter(request, "name", &name)) handler_string_set(&name, "you");
        char hello[256];
        size_t bytes = greeting(hello, sizeof hello, (const char *)name.ptr, name.len);
        text(response, 200, hello, bytes);
    } else {
        const char *none = "There is nothing here.\n";
        text(response, 404, none, strlen(none));
    }
    handler_request_free(request);
}
