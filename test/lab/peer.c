/*
 * Both ends of a conversation, for the lab: a server that says what it was given or has bound, and its clients.
 * Static and without a shell, so that it runs below any RootDirectory= and starts in a millisecond.
 *
 *     peer serve [--bind ADDRESS PORT | --share ADDRESS PORT] [--notify | --fork | --exit STATUS]
 *     peer ask   tcp|udp ADDRESS PORT [MILLISECONDS]
 *     peer flood tcp|udp ADDRESS PORT
 *     peer hold  tcp|udp ADDRESS PORT
 *     peer pass  tcp|udp ADDRESS PORT COMMAND...
 *
 * serve answers each connection and each datagram on its passed sockets (sd_listen_fds(3)) with one line, and finishes
 * the answer that it is giving before SIGTERM ends it. --exit says the line on standard output and exits at once. --bind
 * makes it bind a TCP and a UDP socket of its own, SO_REUSEADDR on the first as nearly all servers have it, --share on both.
 *
 *     {"pid":N,"uid":N,"sockets":[{"name":"web","inode":N,"type":"tcp"}]}
 *
 * ask prints one answer; else exits 1 with the name of the error on standard error. flood asks over and over until
 * standard input closes, and counts: {"answered":N,"refused":N,"cut":N,"silent":N}. hold binds before it tells systemd
 * that it is ready, and then does nothing for good: it neither listens nor reads. pass becomes COMMAND with the bound (and
 * listening) socket as its standard input.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST_FD = 3, MAX_SOCKETS = 1000 };

static int passed;
static int types[MAX_SOCKETS];
static unsigned long inodes[MAX_SOCKETS];
static char *names[MAX_SOCKETS];

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "peer: %s: %s\n", what, strerrorname_np(errno));
	exit(1);
}

static void take_passed(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	char *rest = getenv("LISTEN_FDNAMES");

	if (pid == NULL || count == NULL || rest == NULL || atol(pid) != getpid())
		return;
	passed = atoi(count);
	if (passed > MAX_SOCKETS)
		passed = MAX_SOCKETS;
	for (int i = 0; i < passed; i++) {
		socklen_t length = sizeof types[i];
		struct stat status;

		names[i] = strsep(&rest, ":");
		if (fstat(FIRST_FD + i, &status) < 0 ||
		    getsockopt(FIRST_FD + i, SOL_SOCKET, SO_TYPE, &types[i], &length) < 0)
			die("a passed descriptor");
		inodes[i] = (unsigned long)status.st_ino;
		fcntl(FIRST_FD + i, F_SETFL, fcntl(FIRST_FD + i, F_GETFL) | O_NONBLOCK);
	}
}

/* Returns the length. A thousand sockets do not fit, and no test asks for so many. */
static int describe(char *text, size_t room)
{
	int used = snprintf(text, room, "{\"pid\":%d,\"uid\":%u,\"sockets\":[", (int)getpid(), (unsigned)getuid());

	for (int i = 0; i < passed && (size_t)used < room - 200; i++)
		used += snprintf(text + used, room - (size_t)used, "%s{\"name\":\"%s\",\"inode\":%lu,\"type\":\"%s\"}",
				 i > 0 ? "," : "", names[i] ? names[i] : "", inodes[i],
				 types[i] == SOCK_DGRAM ? "udp" : "tcp");
	return used + snprintf(text + used, room - (size_t)used, "]}\n");
}

static void notify_ready(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t length;

	if (path == NULL || strlen(path) >= sizeof address.sun_path)
		return;
	strcpy(address.sun_path, path);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&address, length) < 0)
		die("notify");
	close(fd);
}

static void answer(int index)
{
	char text[32768], discarded[2048];
	int fd = FIRST_FD + index, length = describe(text, sizeof text);

	if (types[index] == SOCK_DGRAM) {
		struct sockaddr_storage from;
		socklen_t size = sizeof from;

		if (recvfrom(fd, discarded, sizeof discarded, 0, (struct sockaddr *)&from, &size) >= 0)
			sendto(fd, text, (size_t)length, 0, (struct sockaddr *)&from, size);
		return;
	}
	int connection = accept(fd, NULL, NULL);

	if (connection < 0)
		return;
	send(connection, text, (size_t)length, MSG_NOSIGNAL);
	close(connection);
}

static void terminate(int signal)
{
	(void)signal;
	_exit(0);
}

static socklen_t parse_address(const char *address, const char *port, struct sockaddr_storage *storage)
{
	struct sockaddr_in *in = (struct sockaddr_in *)storage;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)storage;

	memset(storage, 0, sizeof *storage);
	if (inet_pton(AF_INET, address, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)atoi(port));
		return sizeof *in;
	}
	memset(storage, 0, sizeof *storage);
	if (inet_pton(AF_INET6, address, &in6->sin6_addr) != 1)
		die("the address");
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons((uint16_t)atoi(port));
	return sizeof *in6;
}

/* A stream listens. It is the caller's, and stays open over execve(2). */
static int bind_socket(int type, const struct sockaddr_storage *at, socklen_t size, int reuse)
{
	int fd = socket(at->ss_family, type, 0);

	if (fd < 0 || (reuse && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse) < 0))
		die("socket");
	if (bind(fd, (const struct sockaddr *)at, size) < 0)
		die("bind");
	if (type == SOCK_STREAM && listen(fd, 128) < 0)
		die("listen");
	return fd;
}

/* In the places of passed ones. */
static void bind_own(const char *address, const char *port, int share)
{
	struct sockaddr_storage at;
	socklen_t size = parse_address(address, port, &at);
	struct stat status;

	for (passed = 0; passed < 2; passed++) {
		types[passed] = passed == 0 ? SOCK_STREAM : SOCK_DGRAM;
		int fd = bind_socket(types[passed], &at, size, share || passed == 0), place = FIRST_FD + passed;

		if (fd != place && (dup2(fd, place) < 0 || close(fd) < 0))
			die("dup2");
		if (fcntl(place, F_SETFL, O_NONBLOCK) < 0 || fstat(place, &status) < 0)
			die("a bound descriptor");
		inodes[passed] = (unsigned long)status.st_ino;
	}
}

_Noreturn static void serve(int argc, char **argv)
{
	struct pollfd sockets[MAX_SOCKETS];
	sigset_t term, before;

	take_passed();
	if (argc > 2 && (strcmp(argv[0], "--bind") == 0 || strcmp(argv[0], "--share") == 0)) {
		bind_own(argv[1], argv[2], strcmp(argv[0], "--share") == 0);
		argc -= 3;
		argv += 3;
	}
	if (argc > 1 && strcmp(argv[0], "--exit") == 0) {
		static char text[32768];

		describe(text, sizeof text);
		fputs(text, stdout);
		fflush(stdout);
		_exit(atoi(argv[1]));
	}
	/* Only ppoll() lets SIGTERM in, so that no answer is cut. */
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before);
	signal(SIGTERM, terminate);
	if (argc > 0 && strcmp(argv[0], "--notify") == 0)
		notify_ready();
	if (argc > 0 && strcmp(argv[0], "--fork") == 0 && fork() != 0)
		_exit(0);
	for (int i = 0; i < passed; i++)
		sockets[i] = (struct pollfd){.fd = FIRST_FD + i, .events = POLLIN};
	for (;;) {
		if (ppoll(sockets, (nfds_t)passed, NULL, &before) < 0)
			continue;
		for (int i = 0; i < passed; i++) {
			if (sockets[i].revents & POLLIN)
				answer(i);
			else if (sockets[i].revents != 0)
				sockets[i].fd = -1;
		}
	}
}

/* One question. Returns 0 with the answer in `text`, or errno; ECONNRESET also where the answer never ends. */
static int ask(int type, const struct sockaddr_storage *to, socklen_t size, long ms, char *text, size_t room)
{
	struct timeval patience = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	int fd = socket(to->ss_family, type | SOCK_CLOEXEC, 0), error = 0;
	size_t used = 0;

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (connect(fd, (const struct sockaddr *)to, size) < 0 || (type == SOCK_DGRAM && send(fd, "?", 1, 0) < 0))
		error = errno;
	while (error == 0 && (used == 0 || text[used - 1] != '\n')) {
		ssize_t length = recv(fd, text + used, room - 1 - used, 0);

		if (length <= 0)
			error = length == 0 ? ECONNRESET : errno;
		else
			used += (size_t)length;
	}
	text[used] = '\0';
	close(fd);
	return error;
}

static int flood(int type, const struct sockaddr_storage *to, socklen_t size)
{
	unsigned long answered = 0, refused = 0, cut = 0, silent = 0;
	struct pollfd end = {.fd = STDIN_FILENO, .events = POLLIN};
	static char text[32768];

	while (poll(&end, 1, 0) == 0) {
		switch (ask(type, to, size, 10000, text, sizeof text)) {
		case 0: answered++; break;
		case ECONNREFUSED: refused++; break;
		case EAGAIN:
		case EINPROGRESS: silent++; break;
		default: cut++;
		}
	}
	printf("{\"answered\":%lu,\"refused\":%lu,\"cut\":%lu,\"silent\":%lu}\n", answered, refused, cut, silent);
	return 0;
}

_Noreturn static void hold(int type, const struct sockaddr_storage *at, socklen_t size)
{
	int fd = socket(at->ss_family, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)at, size) < 0)
		die("bind");
	notify_ready();
	for (;;)
		pause();
}

_Noreturn static void pass(int type, const struct sockaddr_storage *at, socklen_t size, char **command)
{
	int fd = bind_socket(type, at, size, 0);

	if (dup2(fd, STDIN_FILENO) < 0 || close(fd) < 0)
		die("dup2");
	execvp(command[0], command);
	die(command[0]);
}

int main(int argc, char **argv)
{
	static char text[32768];
	struct sockaddr_storage to;

	if (argc > 1 && strcmp(argv[1], "serve") == 0)
		serve(argc - 2, argv + 2);
	if (argc < 5) {
		fputs("usage: peer serve [OPTIONS] | ask|flood|hold|pass tcp|udp ADDRESS PORT [MS | COMMAND...]\n", stderr);
		return 2;
	}
	int type = strcmp(argv[2], "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM;
	socklen_t size = parse_address(argv[3], argv[4], &to);

	if (strcmp(argv[1], "flood") == 0)
		return flood(type, &to, size);
	if (strcmp(argv[1], "hold") == 0)
		hold(type, &to, size);
	if (strcmp(argv[1], "pass") == 0 && argc > 5)
		pass(type, &to, size, argv + 5);
	int error = ask(type, &to, size, argc > 5 ? atol(argv[5]) : 10000, text, sizeof text);

	if (error != 0) {
		fprintf(stderr, "%s\n", strerrorname_np(error));
		return 1;
	}
	fputs(text, stdout);
	return 0;
}
