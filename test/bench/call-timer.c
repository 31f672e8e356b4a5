/* call-timer HOST PORT ROUNDS: what calls take, in nanoseconds, a line `NAME NS` for each round. bind and listen are of TCP
 * sockets at that address, one call a round; the others are means of many. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CALLS = 20000 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    char byte;
    if (argc != 4 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1)
        return 2;
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    int null = open("/dev/null", O_RDONLY), quiet = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (listen(quiet, 1) < 0)
        return 1;
    for (int round = atoi(argv[3]); round > 0; round--) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        double start = now();
        if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
            return perror("call-timer: bind"), 1;
        double bound = now();
        if (listen(fd, 8) < 0)
            return perror("call-timer: listen"), 1;
        printf("bind %.0f\nlisten %.0f\n", bound - start, now() - bound);
        close(fd);
        start = now();
        for (int i = 0; i < CALLS; i++)
            syscall(SYS_getpid);
        printf("getpid %.1f\n", (now() - start) / CALLS);
        start = now();
        for (int i = 0; i < CALLS; i++)
            if (read(null, &byte, 1) != 0)
                return 1;
        printf("read %.1f\n", (now() - start) / CALLS);
        start = now();
        for (int i = 0; i < CALLS; i++)
            if (accept(quiet, NULL, NULL) >= 0)
                return 1;
        printf("accept %.1f\n", (now() - start) / CALLS);
    }
    return 0;
}
