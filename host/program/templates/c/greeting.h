#pragma once

#include <stddef.h>

/// Writes a greeting for this name, which need not end with a NUL, into `text`. Returns how many
/// bytes it has; a name that is too long is cut.
size_t greeting(char *text, size_t room, const char *name, size_t name_bytes);
