/*
 * Times how long commands take from their start to their end, without a runtime of its own in between.
 *
 *     spawn-timer ROUNDS RUNS , COMMAND [ARGUMENT...] [, COMMAND...]...
 *
 * Each round runs each command RUNS times in a row, so that what a daemon still does after an answer falls on the next
 * run of the same command; and the rounds take turns, so that a slow spell of the machine falls on all of them. One
 * unmeasured round comes first. Prints nanoseconds as JSON, [command][round][run]. Ends with 1 when a command fails.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { MAX_COMMANDS = 16 };

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* posix_spawn(3) shares the memory until the exec, as vfork does: the caller's size plays no part. */
static long long run(char **command) {
    int status;
    pid_t pid;
    long long start = now();
    int error = posix_spawnp(&pid, command[0], NULL, NULL, command, environ);
    if (error != 0) {
        fprintf(stderr, "spawn-timer: cannot run %s: %s\n", command[0], strerror(error));
        exit(1);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    long long nanoseconds = now() - start;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "spawn-timer: %s ended with status %#x\n", command[0], (unsigned)status);
        exit(1);
    }
    return nanoseconds;
}

static int count_of(const char *text) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*end != '\0' || value < 1 || value > 100000) {
        fprintf(stderr, "spawn-timer: '%s' is no count\n", text);
        exit(2);
    }
    return (int)value;
}

static void print(const long long *times, int commands, int rounds, int runs) {
    for (int command = 0; command < commands; command++) {
        for (int round = 0; round < rounds; round++) {
            for (int i = 0; i < runs; i++) {
                const char *before = i > 0 ? "," : round > 0 ? "],[" : command > 0 ? "]],[[" : "[[[";
                printf("%s%lld", before, times[((size_t)round * (size_t)commands + (size_t)command) * (size_t)runs + (size_t)i]);
            }
        }
    }
    puts("]]]");
}

int main(int argc, char **argv) {
    char **commands[MAX_COMMANDS];
    int count = 0;
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], ",") != 0)
            continue;
        argv[i] = NULL;
        if (count == MAX_COMMANDS || i + 1 == argc)
            count = argc; /* too many, or an empty one */
        else
            commands[count++] = argv + i + 1;
    }
    if (argc < 5 || count == 0 || count > MAX_COMMANDS) {
        fputs("usage: spawn-timer ROUNDS RUNS , COMMAND [ARGUMENT...] [, COMMAND...]...\n", stderr);
        return 2;
    }
    int rounds = count_of(argv[1]), runs = count_of(argv[2]);
    long long *times = calloc((size_t)rounds * (size_t)count * (size_t)runs, sizeof *times), *next = times;
    if (times == NULL)
        return 1;
    for (int round = -1; round < rounds; round++)
        for (int command = 0; command < count; command++)
            for (int i = 0; i < runs; i++) {
                long long time = run(commands[command]);
                if (round >= 0)
                    *next++ = time;
            }
    print(times, count, rounds, runs);
    free(times);
    return 0;
}
