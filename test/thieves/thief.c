/*
 * Tries to take a port, as fast as it can, in as many ways as it is told, until it is stopped; then says how often it
 * tried and how often it won. Tests run it against a reservation (it must never win) and without one (it must win,
 * or the first result means nothing).
 *
 *     thief --port N [--hold-ms N] [--stdin] [--stalls] KIND... [--and KIND...]...
 *
 * With --stalls timer interrupts stop each child all the time, now and then between two looks that its bind() takes at a
 * socket of the other side.
 *
 * A KIND is any of --tcp --udp -4 -6 --address A --device D --v6only --reuseaddr --reuseport --listen --bindresvport. Protocols
 * and families multiply, and none named means both; --and starts over. Every resulting kind is a child of its own.
 *
 * Prints "ready" once every child has made its first attempt, and tells systemd (Type=notify). Prints one line of
 * JSON on SIGUSR1, and at its end on SIGTERM, SIGINT or, with --stdin, when standard input closes:
 *
 *     {"port":631,"attempts":N,"thefts":N,"listens":N,"kinds":{"tcp4+reuseaddr":
 *       {"attempts":N,"thefts":N,"listens":N,"inUse":N,"otherErrors":N,"lastError":"EACCES"}}}
 *
 * A theft is a bind() that succeeded, listens are the listen()s that did after it. Attempts of bindresvport() are
 * whole calls; those that came back with another port count as attempts only.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_KINDS 64
/* Clocks that fire together now and then make an interrupt of several microseconds: some system calls of the other side. */
#define STALLS 4
#define STALL_NS 60000

struct kind {
	int family, type;
	const char *address; /* NULL is the wildcard */
	const char *device; /* NULL is every interface; binding to one needs no privilege (socket(7), SO_BINDTODEVICE) */
	bool v6only, reuseaddr, reuseport, listen, bindresvport;
	char name[96];
	pid_t pid;
};

/* What one child counts. It lies in a page shared with the parent, so that a killed child's numbers remain. */
struct tally {
	atomic_ulong attempts, thefts, listens, in_use, other_errors;
	atomic_int last_error;
};

static struct kind kinds[MAX_KINDS];
static size_t n_kinds;
static struct tally *tallies;
static int wanted_port = -1;
static long hold_ms = 20;
static bool stalls;

static void die(const char *what)
{
	fprintf(stderr, "thief: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void usage(const char *why)
{
	fprintf(stderr,
		"thief: %s\nusage: thief --port N [--hold-ms N] [--stdin] [--stalls] KIND... [--and KIND...]...\n"
		"KIND: --tcp --udp -4 -6 --address A --device D --v6only --reuseaddr --reuseport --listen --bindresvport\n",
		why);
	exit(2);
}

static void set_option(int fd, int level, int option)
{
	int on = 1;

	if (setsockopt(fd, level, option, &on, sizeof on) < 0)
		die("setsockopt");
}

/* The address that a kind binds to. Returns its length. */
static socklen_t fill_address(const struct kind *kind, struct sockaddr_storage *storage)
{
	memset(storage, 0, sizeof *storage);
	storage->ss_family = (sa_family_t)kind->family;
	if (kind->family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)storage;

		in->sin_port = htons((uint16_t)wanted_port);
		if (kind->address != NULL)
			inet_pton(AF_INET, kind->address, &in->sin_addr);
		return sizeof *in;
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)storage;

	in6->sin6_port = htons((uint16_t)wanted_port);
	if (kind->address != NULL)
		inet_pton(AF_INET6, kind->address, &in6->sin6_addr);
	return sizeof *in6;
}

/* One attempt on a fresh socket. Returns whether the wanted port is now ours; errno says why not, 0 for another port. */
static bool bind_once(const struct kind *kind, int fd)
{
	if (kind->bindresvport) {
		struct sockaddr_in in = {.sin_family = AF_INET};

		if (bindresvport(fd, &in) < 0)
			return false;
		errno = 0;
		return ntohs(in.sin_port) == wanted_port;
	}
	struct sockaddr_storage address;
	socklen_t length = fill_address(kind, &address);

	if (kind->device != NULL &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, kind->device, (socklen_t)strlen(kind->device)) < 0)
		die("SO_BINDTODEVICE");
	if (kind->v6only)
		set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY);
	if (kind->reuseaddr)
		set_option(fd, SOL_SOCKET, SO_REUSEADDR);
	if (kind->reuseport)
		set_option(fd, SOL_SOCKET, SO_REUSEPORT);
	return bind(fd, (struct sockaddr *)&address, length) == 0;
}

/* Holds what it stole long enough for the victim's own bind to meet it, then gives it back. */
static void hold(void)
{
	struct timespec rest = {.tv_sec = hold_ms / 1000, .tv_nsec = hold_ms % 1000 * 1000000};

	while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
		;
}

static void tell(int *ready_fd)
{
	if (*ready_fd < 0)
		return;
	if (write(*ready_fd, "", 1) != 1)
		_exit(1);
	close(*ready_fd);
	*ready_fd = -1;
}

/* The first one is told of, before what it may have got is held. */
static void attempt(const struct kind *kind, struct tally *tally, int *ready_fd)
{
	int fd = socket(kind->family, kind->type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	bool ours = bind_once(kind, fd);
	int error = errno;

	atomic_fetch_add(&tally->attempts, 1);
	if (ours) {
		atomic_fetch_add(&tally->thefts, 1);
		if (kind->listen && listen(fd, 16) == 0)
			atomic_fetch_add(&tally->listens, 1);
		tell(ready_fd);
		hold();
	} else if (error == EADDRINUSE) {
		atomic_fetch_add(&tally->in_use, 1);
	} else if (error != 0) {
		atomic_store(&tally->last_error, error);
		atomic_fetch_add(&tally->other_errors, 1);
	}
	close(fd);
	tell(ready_fd);
}

static void arm_stalls(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof attr,
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = STALL_NS,
		.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_CALLCHAIN,
	};

	for (int i = 0; i < STALLS; i++)
		if (syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC) < 0)
			die("perf_event_open");
}

_Noreturn static void run_child(const struct kind *kind, struct tally *tally, int ready_fd)
{
	if (stalls)
		arm_stalls();
	for (;;)
		attempt(kind, tally, &ready_fd);
}

/* READY=1 by the protocol of sd_notify(3), so that a unit of Type=notify orders others after the first attempts. */
static void notify_ready(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (path == NULL || strlen(path) >= sizeof address.sun_path)
		return;
	strcpy(address.sun_path, path);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));

	if (sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&address, length) < 0)
		die("cannot notify systemd");
	close(fd);
}

static void report(void)
{
	unsigned long attempts = 0, thefts = 0, listens = 0;

	for (size_t i = 0; i < n_kinds; i++) {
		attempts += atomic_load(&tallies[i].attempts);
		thefts += atomic_load(&tallies[i].thefts);
		listens += atomic_load(&tallies[i].listens);
	}
	printf("{\"port\":%d,\"attempts\":%lu,\"thefts\":%lu,\"listens\":%lu,\"kinds\":{", wanted_port, attempts, thefts,
	       listens);
	for (size_t i = 0; i < n_kinds; i++) {
		struct tally *tally = &tallies[i];

		printf("%s\"%s\":{\"attempts\":%lu,\"thefts\":%lu,\"listens\":%lu,\"inUse\":%lu,\"otherErrors\":%lu",
		       i > 0 ? "," : "", kinds[i].name, atomic_load(&tally->attempts), atomic_load(&tally->thefts),
		       atomic_load(&tally->listens), atomic_load(&tally->in_use),
		       atomic_load(&tally->other_errors));
		if (atomic_load(&tally->other_errors) > 0)
			printf(",\"lastError\":\"%s\"", strerrorname_np(atomic_load(&tally->last_error)));
		printf("}");
	}
	printf("}}\n");
	fflush(stdout);
}

/* What the options since the last --and said. */
struct group {
	bool tcp, udp, inet, inet6;
	struct kind kind;
};

static void add_kind(struct kind kind, bool stream, bool inet6)
{
	if (n_kinds == MAX_KINDS)
		usage("too many kinds");
	kind.type = stream ? SOCK_STREAM : SOCK_DGRAM;
	kind.family = inet6 ? AF_INET6 : AF_INET;
	kind.listen &= stream;
	kind.v6only &= inet6;
	snprintf(kind.name, sizeof kind.name, "%s%c%s%s%s%s%s%s%s%s%s", stream ? "tcp" : "udp", inet6 ? '6' : '4',
		 kind.address ? "@" : "", kind.address ? kind.address : "", kind.device ? "%" : "",
		 kind.device ? kind.device : "", kind.v6only ? "+v6only" : "",
		 kind.reuseaddr ? "+reuseaddr" : "", kind.reuseport ? "+reuseport" : "", kind.listen ? "+listen" : "",
		 kind.bindresvport ? "+bindresvport" : "");
	kinds[n_kinds++] = kind;
}

static void add_group(struct group *group)
{
	if (!group->tcp && !group->udp)
		group->tcp = group->udp = true;
	if (group->kind.address != NULL) {
		struct in6_addr unused;

		group->inet = inet_pton(AF_INET, group->kind.address, &unused) == 1;
		group->inet6 = inet_pton(AF_INET6, group->kind.address, &unused) == 1;
		if (!group->inet && !group->inet6)
			usage("--address wants an IPv4 or IPv6 address");
	} else if (group->kind.bindresvport) { /* glibc's knows IPv4 only */
		group->inet = true;
		group->inet6 = false;
	} else if (!group->inet && !group->inet6) {
		group->inet = group->inet6 = true;
	}
	for (int stream = 1; stream >= 0; stream--)
		for (int inet6 = 0; inet6 <= 1; inet6++)
			if ((stream ? group->tcp : group->udp) && (inet6 ? group->inet6 : group->inet))
				add_kind(group->kind, stream, inet6);
	memset(group, 0, sizeof *group);
}

static long parse_number(const char *text, long max, const char *why)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < 0 || value > max)
		usage(why);
	return value;
}

/* Returns whether standard input is to be watched. */
static bool parse(int argc, char **argv)
{
	enum { PORT = 256, HOLD, STDIN, STALLED, TCP, UDP, ADDRESS, DEVICE, V6ONLY, REUSEADDR, REUSEPORT, LISTEN, BINDRESVPORT, AND };
	static const struct option options[] = {
		{"port", required_argument, NULL, PORT},
		{"hold-ms", required_argument, NULL, HOLD},
		{"stdin", no_argument, NULL, STDIN},
		{"stalls", no_argument, NULL, STALLED},
		{"tcp", no_argument, NULL, TCP},
		{"udp", no_argument, NULL, UDP},
		{"address", required_argument, NULL, ADDRESS},
		{"device", required_argument, NULL, DEVICE},
		{"v6only", no_argument, NULL, V6ONLY},
		{"reuseaddr", no_argument, NULL, REUSEADDR},
		{"reuseport", no_argument, NULL, REUSEPORT},
		{"listen", no_argument, NULL, LISTEN},
		{"bindresvport", no_argument, NULL, BINDRESVPORT},
		{"and", no_argument, NULL, AND},
		{NULL, 0, NULL, 0},
	};
	struct group group = {0};
	bool watch_stdin = false;

	for (int c; (c = getopt_long(argc, argv, "46", options, NULL)) != -1;) {
		switch (c) {
		case PORT: wanted_port = (int)parse_number(optarg, 65535, "--port wants 0 to 65535"); break;
		case HOLD: hold_ms = parse_number(optarg, 3600000, "--hold-ms wants milliseconds"); break;
		case STDIN: watch_stdin = true; break;
		case STALLED: stalls = true; break;
		case TCP: group.tcp = true; break;
		case UDP: group.udp = true; break;
		case '4': group.inet = true; break;
		case '6': group.inet6 = true; break;
		case ADDRESS: group.kind.address = optarg; break;
		case DEVICE: group.kind.device = optarg; break;
		case V6ONLY: group.kind.v6only = true; break;
		case REUSEADDR: group.kind.reuseaddr = true; break;
		case REUSEPORT: group.kind.reuseport = true; break;
		case LISTEN: group.kind.listen = true; break;
		case BINDRESVPORT: group.kind.bindresvport = true; break;
		case AND: add_group(&group); break;
		default: usage("unknown option");
		}
	}
	add_group(&group);
	if (optind < argc)
		usage("unexpected argument");
	if (wanted_port < 0)
		usage("--port is missing");
	return watch_stdin;
}

static void start_children(const sigset_t *blocked)
{
	int ready[2];
	pid_t parent = getpid();

	if (pipe2(ready, O_CLOEXEC) < 0)
		die("pipe2");
	for (size_t i = 0; i < n_kinds; i++) {
		kinds[i].pid = fork();
		if (kinds[i].pid < 0)
			die("fork");
		if (kinds[i].pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				_exit(0);
			sigprocmask(SIG_UNBLOCK, blocked, NULL);
			close(ready[0]);
			run_child(&kinds[i], &tallies[i], ready[1]);
		}
	}
	close(ready[1]);
	for (size_t seen = 0; seen < n_kinds;) {
		char bytes[MAX_KINDS];
		ssize_t n = read(ready[0], bytes, sizeof bytes);

		if (n <= 0) {
			fprintf(stderr, "thief: a child ended before its first attempt\n");
			exit(1);
		}
		seen += (size_t)n;
	}
	close(ready[0]);
}

int main(int argc, char **argv)
{
	bool watch_stdin = parse(argc, argv);
	sigset_t set;

	tallies = mmap(NULL, sizeof *tallies * n_kinds, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tallies == MAP_FAILED)
		die("mmap");
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	start_children(&set);
	puts("ready");
	fflush(stdout);
	notify_ready();

	struct pollfd fds[] = {
		{.fd = signalfd(-1, &set, SFD_CLOEXEC), .events = POLLIN},
		{.fd = watch_stdin ? STDIN_FILENO : -1, .events = POLLIN},
	};

	for (bool stopped = false; !stopped;) {
		struct signalfd_siginfo info;
		char discarded[256];

		if (poll(fds, 2, -1) < 0)
			die("poll");
		if (fds[0].revents != 0) {
			if (read(fds[0].fd, &info, sizeof info) != (ssize_t)sizeof info)
				die("signalfd");
			if (info.ssi_signo == SIGUSR1)
				report();
			else
				stopped = true;
		}
		if (fds[1].revents != 0 && read(STDIN_FILENO, discarded, sizeof discarded) <= 0)
			stopped = true;
	}
	for (size_t i = 0; i < n_kinds; i++)
		kill(kinds[i].pid, SIGKILL);
	while (wait(NULL) > 0)
		;
	report();
	return 0;
}
