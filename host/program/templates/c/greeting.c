// What this worker does, without a word of HTTP: `make test` tests it on your machine.

#include "greeting.h"

#include <stdio.h>

size_t greeting(char *text, size_t room, const char *name, size_t name_bytes) {
    const size_t frame = sizeof "hello, \n";
    if (room < frame) return 0;
    if (name_bytes > room - frame) name_bytes = room - frame;
    int bytes = snprintf(text, room, "hello, %.*s\n", (int)name_bytes, name);
    return bytes < 0 ? 0 : (size_t)bytes;
}
