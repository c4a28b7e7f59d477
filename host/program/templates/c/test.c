// The tests of greeting.c. `make test` runs them, without wasm and without a host.

#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "greeting.h"

static void check(const char *name, size_t room, const char *expected) {
    char text[64];
    assert(room <= sizeof text);
    size_t bytes = greeting(text, room, name, strlen(name));
    if (bytes != strlen(expected) || memcmp(text, expected, bytes) != 0) {
        fprintf(stderr, "%s in %zu bytes: %.*s\n", name, room, (int)bytes, text);
        assert(!"as expected");
    }
}

int main(void) {
    check("you", 64, "hello, you\n");
    check("", 64, "hello, \n");
    check("somebody", 12, "hello, som\n");
    check("somebody", 8, "");
    puts("all tests passed");
    return 0;
}
