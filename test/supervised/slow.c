/* slow MODE PORT | slow keep PID FD: a supervised program that makes berthd's look at its call last.
 *
 *     memory  bind(2) of an address in memory that userfaultfd(2) provides, and does not
 *     socket  bind(2) of a socket that is locked meanwhile: another thread sends with it out of such memory
 *
 * `keep` takes the descriptor that provides the memory over from another one, so that it outlives that, and prints `kept`.
 *
 * Prints `calling FD` right before the call, with the descriptor that provides the memory. A line on standard input has the memory provided; then it prints `NAME 0` or the errno
 * of the call, and ends. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int provider;
static char *page;
static struct sockaddr_in address = {.sin_family = AF_INET};

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "slow: %s: %s\n", what, strerror(errno));
	exit(77);
}

static void *provide(void *unused)
{
	char content[4096] = {0}, byte;
	struct uffdio_copy copy = {.dst = (uintptr_t)page, .src = (uintptr_t)content, .len = sizeof content};

	memcpy(content, &address, sizeof address);
	if (read(STDIN_FILENO, &byte, 1) == 1 && ioctl(provider, UFFDIO_COPY, &copy) < 0)
		die("UFFDIO_COPY");
	return unused;
}

static void *send_out(void *socket)
{
	struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = *(int *)socket;

	/* The lock is held when there is something already (udp_sendmsg in net/ipv4/udp.c). */
	sendto(fd, "x", 1, MSG_MORE, (struct sockaddr *)&there, sizeof there);
	sendto(fd, page, 16, MSG_MORE, (struct sockaddr *)&there, sizeof there);
	return NULL;
}

static int keep(int pid, int fd)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	char byte;

	if (pidfd < 0 || syscall(SYS_pidfd_getfd, pidfd, fd, 0) < 0)
		die("pidfd_getfd");
	puts("kept");
	fflush(stdout);
	return read(STDIN_FILENO, &byte, 1) < 0;
}

int main(int argc, char **argv)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffd_msg message;
	pthread_t thread, sender;

	if (argc == 4 && strcmp(argv[1], "keep") == 0)
		return keep(atoi(argv[2]), atoi(argv[3]));
	if (argc != 3)
		return 2;
	address.sin_port = htons((uint16_t)atoi(argv[2]));
	provider = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (provider < 0 || ioctl(provider, UFFDIO_API, &api) < 0)
		die("userfaultfd");
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register range = {.range = {.start = (uintptr_t)page, .len = 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING};

	if (ioctl(provider, UFFDIO_REGISTER, &range) < 0)
		die("UFFDIO_REGISTER");
	pthread_create(&thread, NULL, provide, NULL);
	int memory = strcmp(argv[1], "memory") == 0;
	int fd = socket(AF_INET, memory ? SOCK_STREAM : SOCK_DGRAM, 0);

	if (!memory) {
		pthread_create(&sender, NULL, send_out, &fd);
		/* It has come to where it waits, and holds the lock. */
		if (read(provider, &message, sizeof message) != sizeof message)
			die("read");
	}
	printf("calling %d\n", provider);
	fflush(stdout);
	int result = bind(fd, memory ? (struct sockaddr *)page : (struct sockaddr *)&address, sizeof address);

	printf("bind %d\n", result == 0 ? 0 : errno);
	return 0;
}
