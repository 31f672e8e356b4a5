/*
 * Lets a process go a number of system calls further, and then strikes: the fault storm kills berthd at each step of a
 * handoff, one after the other, and has each call fail that can.
 *
 *     step PID N kill
 *     step PID N ENOMEM|EMFILE|...
 *     step run N kill COMMAND...
 *
 * Prints "attached" when the process is under watch (its first thread: Node's own). `kill` strikes as the Nth call is
 * entered, before it does anything. An error takes the place of the Nth of those calls that allocate something. The end
 * of standard input lets go of the process. `run` makes COMMAND the process, and says nothing: it exits as COMMAND does,
 * or with 137. Else the last line says how it went:
 *
 *     {"struck":true,"seen":12,"call":47}
 */
#include <elf.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <linux/ptrace.h>
#include <unistd.h>

static pid_t target;
static long wanted, seen, call = -1;
static int error; /* 0 is a kill */
static int failing;
static int launched;

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "step: %s: %s\n", what, strerror(errno));
	exit(1);
}

_Noreturn static void finish(int struck)
{
	if (launched)
		exit(137);
	printf("{\"struck\":%s,\"seen\":%ld,\"call\":%ld}\n", struck ? "true" : "false", seen, call);
	fflush(stdout);
	exit(0);
}

/* What fails for want of memory or of descriptors, and has a caller in berth that is told. */
static int allocates(long number)
{
	static const long numbers[] = {SYS_socket,     SYS_socketpair, SYS_accept4,	      SYS_recvmsg,
				       SYS_sendmsg,    SYS_openat,     SYS_pidfd_open,	      SYS_listen,
				       SYS_bind,       SYS_setsockopt, SYS_inotify_add_watch, SYS_getdents64,
				       SYS_memfd_create, SYS_pidfd_getfd};

	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (numbers[i] == number)
			return 1;
	return 0;
}

static void set_number(long number)
{
#ifdef __x86_64__
	if (ptrace(PTRACE_POKEUSER, target, offsetof(struct user_regs_struct, orig_rax), number) < 0)
		die("PTRACE_POKEUSER");
#else
	int value = (int)number;
	struct iovec one = {&value, sizeof value};

	if (ptrace(PTRACE_SETREGSET, target, NT_ARM_SYSTEM_CALL, &one) < 0)
		die("PTRACE_SETREGSET");
#endif
}

static void set_result(long result)
{
	struct user_regs_struct registers;
	struct iovec all = {&registers, sizeof registers};

	if (ptrace(PTRACE_GETREGSET, target, NT_PRSTATUS, &all) < 0)
		die("PTRACE_GETREGSET");
#ifdef __x86_64__
	registers.rax = (unsigned long)result;
#else
	registers.regs[0] = (unsigned long)result;
#endif
	if (ptrace(PTRACE_SETREGSET, target, NT_PRSTATUS, &all) < 0)
		die("PTRACE_SETREGSET");
}

/* At the entry or exit of a system call. */
static void at_call(void)
{
	struct ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, target, sizeof info, &info) < 0)
		die("PTRACE_GET_SYSCALL_INFO");
	if (info.op == PTRACE_SYSCALL_INFO_EXIT && failing) {
		set_result(-error);
		ptrace(PTRACE_DETACH, target, 0, 0);
		finish(1);
	}
	if (info.op != PTRACE_SYSCALL_INFO_ENTRY || (error != 0 && !allocates((long)info.entry.nr)))
		return;
	call = (long)info.entry.nr;
	if (++seen < wanted)
		return;
	if (error != 0) {
		failing = 1;
		set_number(-1);
	} else {
		kill(target, SIGKILL);
		finish(1);
	}
}

/* Everything that the process has to say. Returns when nothing is left for now. */
static void follow(void)
{
	int status;

	while (waitpid(target, &status, WNOHANG | __WALL) == target) {
		if (!WIFSTOPPED(status) && launched)
			exit(WIFEXITED(status) ? WEXITSTATUS(status) : 137);
		if (!WIFSTOPPED(status))
			finish(0);
		int signal = WSTOPSIG(status);

		if (signal == (SIGTRAP | 0x80)) {
			at_call();
			signal = 0;
		} else if (status >> 16 != 0) {
			signal = 0; /* an event of ptrace, PTRACE_EVENT_STOP: no signal of its own */
		}
		if (ptrace(PTRACE_SYSCALL, target, 0, signal) < 0 && errno != ESRCH)
			die("PTRACE_SYSCALL");
	}
}

/* It has to stand still to be let go of. */
static void let_go(void)
{
	int status;

	if (ptrace(PTRACE_INTERRUPT, target, 0, 0) == 0 && waitpid(target, &status, __WALL) == target && WIFSTOPPED(status))
		ptrace(PTRACE_DETACH, target, 0, 0);
	finish(0);
}

static int number_of(const char *name)
{
	for (int i = 1; i < 134; i++)
		if (strerrorname_np(i) != NULL && strcmp(strerrorname_np(i), name) == 0)
			return i;
	fprintf(stderr, "step: there is no error %s\n", name);
	exit(2);
}

/* Its own calls count from its execve(2) on. */
static pid_t launch(char **command)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		raise(SIGSTOP);
		execvp(command[0], command);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, WUNTRACED) != pid || ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) < 0)
		die("fork");
	launched = 1;
	kill(pid, SIGCONT);
	return pid;
}

int main(int argc, char **argv)
{
	sigset_t child;
	int status;

	int run = argc > 4 && strcmp(argv[1], "run") == 0;

	if (!run && argc != 4) {
		fputs("usage: step PID N kill|ERRNO\n       step run N kill COMMAND...\n", stderr);
		return 2;
	}
	target = run ? launch(argv + 4) : atoi(argv[1]);
	wanted = atol(argv[2]);
	error = strcmp(argv[3], "kill") == 0 ? 0 : number_of(argv[3]);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	struct pollfd fds[] = {{.fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK), .events = POLLIN},
			       {.fd = run ? -1 : STDIN_FILENO, .events = POLLIN}};

	if (run) {
		ptrace(PTRACE_INTERRUPT, target, 0, 0);
	} else if (ptrace(PTRACE_SEIZE, target, 0, PTRACE_O_TRACESYSGOOD) < 0 || ptrace(PTRACE_INTERRUPT, target, 0, 0) < 0)
		die("attach");
	if (waitpid(target, &status, __WALL) != target || ptrace(PTRACE_SYSCALL, target, 0, 0) < 0)
		die("attach");
	if (!run) {
		puts("attached");
		fflush(stdout);
	}
	for (;;) {
		struct signalfd_siginfo discarded;
		char byte;

		follow();
		if (poll(fds, 2, -1) < 0)
			die("poll");
		while (read(fds[0].fd, &discarded, sizeof discarded) > 0) {}
		if (fds[1].revents != 0 && read(STDIN_FILENO, &byte, 1) <= 0)
			let_go();
	}
}
