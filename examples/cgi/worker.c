/* A CGI program (RFC 3875) as it could have been written in 1995: the request is in the environment
   and on standard input, printf writes the answer. The host starts a process for each request. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value == NULL ? "" : value;
}

static int count(void) {
    long letters = 0, lines = 0;
    for (int letter; (letter = getchar()) != EOF; letters++) lines += letter == '\n';
    printf("Content-Type: text/plain\n\n%ld bytes, %ld lines\n", letters, lines);
    return 0;
}

int main(void) {
    const char *path = variable("PATH_INFO"), *method = variable("REQUEST_METHOD");
    if (strcmp(path, "/count") == 0 && strcmp(method, "POST") == 0) return count();
    if (strcmp(path, "/") == 0) {
        printf("Content-Type: text/plain\n\nhello from C, %s\n", variable("REMOTE_ADDR"));
        return 0;
    }
    fprintf(stderr, "nothing at %s\n", path); /* a line in the host's log */
    printf("Status: 404 Not Found\nContent-Type: text/plain\n\nGET / or POST /count\n");
    return 0;
}
