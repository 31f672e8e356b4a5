/*
 * A fault for the sanitizers to find, in place of sendmsg(2) in a copy of berth-claim or of the addon that
 * test/sanitized.sh links with --wrap: $BERTH_PLANTED says which. No product has any of it.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);

static void use_after_free(void)
{
	char *volatile memory = malloc(16);

	free(memory);
	memory[0] = 1;
}

static void overflow(void)
{
	volatile int number = INT_MAX;

	number = number + 1;
}

static void leak(void)
{
	void *volatile memory = malloc(4711);

	memset(memory, 0, 4711);
	memory = NULL;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	const char *planted = getenv("BERTH_PLANTED");

	if (planted == NULL)
		planted = "";
	if (strcmp(planted, "use-after-free") == 0)
		use_after_free();
	else if (strcmp(planted, "overflow") == 0)
		overflow();
	else if (strcmp(planted, "leak") == 0)
		leak();
	return __real_sendmsg(fd, message, flags);
}
