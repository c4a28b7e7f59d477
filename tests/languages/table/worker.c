// The table of behaviour, for this host's own contract.

#include <stdlib.h>
#include <string.h>

#include "bindings/handler.h"

/// Volatile, or the compiler sees that nobody reads what is kept.
static void *volatile kept;

static bool is(handler_string_t text, const char *other) {
    return text.len == strlen(other) && memcmp(text.ptr, other, text.len) == 0;
}

static bool starts(handler_string_t text, const char *start) {
    return text.len >= strlen(start) && memcmp(text.ptr, start, strlen(start)) == 0;
}

/// Memory that a call of this worker can't do without.
static void *allocate(size_t bytes) {
    void *memory = malloc(bytes + 1);
    if (memory == NULL) abort();
    return memory;
}

static handler_list_u8_t copied(const void *bytes, size_t count) {
    handler_list_u8_t copy = { .ptr = allocate(count), .len = count };
    memcpy(copy.ptr, bytes, count);
    return copy;
}

/// Appends to a body that has room for it.
static void append(handler_list_u8_t *body, const void *bytes, size_t count) {
    memcpy(body->ptr + body->len, bytes, count);
    body->len += count;
}

static void field(handler_response_t *response, const char *name, const char *value) {
    size_t last = response->headers.len++;
    handler_string_dup(&response->headers.ptr[last].name, name);
    response->headers.ptr[last].value = copied(value, strlen(value));
}

static handler_list_u8_t target(const handler_request_t *request) {
    handler_list_u8_t body = { .ptr = allocate(request->path.len + request->query.val.len + 1), .len = 0 };
    append(&body, request->path.ptr, request->path.len);
    if (request->query.is_some) {
        append(&body, "?", 1);
        append(&body, request->query.val.ptr, request->query.val.len);
    }
    return body;
}

static handler_list_u8_t values(const handler_request_t *request) {
    handler_list_u8_t body = { .ptr = allocate(4096), .len = 0 };
    for (size_t i = 0; i < request->headers.len; i++) {
        if (!is(request->headers.ptr[i].name, "x-test")) continue;
        if (body.len > 0) append(&body, ", ", 2);
        append(&body, request->headers.ptr[i].value.ptr, request->headers.ptr[i].value.len);
    }
    return body;
}

void exports_handler_handle(handler_request_t *request, handler_response_t *response) {
    handler_list_u8_t body = { .ptr = NULL, .len = 0 };
    response->status = 200;
    response->headers.len = 0;
    response->headers.ptr = allocate(2 * sizeof *response->headers.ptr);

    if (is(request->path, "/table/echo")) {
        body = copied(request->body.ptr, request->body.len);
    } else if (is(request->path, "/table/method")) {
        body = copied(request->method.ptr, request->method.len);
    } else if (is(request->path, "/table/fields")) {
        body = values(request);
        field(response, "set-cookie", "a=1");
        field(response, "set-cookie", "b=2");
    } else if (starts(request->path, "/table/target/")) {
        body = target(request);
    } else if (is(request->path, "/table/status")) {
        char digits[4] = { 0 };
        memcpy(digits, request->query.val.ptr, 3);
        response->status = atoi(digits);
    } else if (is(request->path, "/table/crash")) {
        abort();
    } else if (is(request->path, "/table/spin")) {
        for (volatile int at = 0;; at++) { }
    } else if (is(request->path, "/table/memory")) {
        for (;;) kept = memset(allocate(1 << 20), 1, 1 << 20);
    } else {
        response->status = 404;
    }
    response->body.tag = WASM_POOL_WORKER_HTTP_BODY_BYTES;
    response->body.val.bytes = body;
    handler_request_free(request);
}
