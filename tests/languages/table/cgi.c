/* The table of behaviour, for CGI. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Volatile, or the compiler sees that nobody reads what is kept. */
static void *volatile kept;

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value == NULL ? "" : value;
}

static void say(const char *text) {
    printf("Content-Type: text/plain\n\n%s", text);
}

static void echo(void) {
    static char piece[65536];
    say("");
    for (size_t count; (count = fread(piece, 1, sizeof piece, stdin)) > 0;) fwrite(piece, 1, count, stdout);
}

static void status(int status) {
    printf("Status: %d As Asked\n\n", status);
}

int main(void) {
    const char *path = variable("PATH_INFO");
    if (strcmp(path, "/table/echo") == 0) echo();
    else if (strcmp(path, "/table/method") == 0) say(variable("REQUEST_METHOD"));
    else if (strcmp(path, "/table/fields") == 0) {
        printf("Set-Cookie: a=1\nSet-Cookie: b=2\n");
        say(variable("HTTP_X_TEST"));
    }
    else if (strncmp(path, "/table/target/", 14) == 0) say(variable("REQUEST_URI"));
    else if (strcmp(path, "/table/status") == 0) status(atoi(variable("QUERY_STRING")));
    else if (strcmp(path, "/table/crash") == 0) abort();
    else if (strcmp(path, "/table/spin") == 0) for (volatile int at = 0;; at++) { }
    else if (strcmp(path, "/table/memory") == 0) {
        for (;;) {
            kept = malloc(1 << 20);
            if (kept == NULL) return 1;
            memset(kept, 1, 1 << 20);
        }
    }
    else status(404);
    return 0;
}
