/*
 * To preload: a process that receives a call of a supervised one (seccomp_unotify(2)) comes late, as if it had lost the
 * processor just then. Whoever has a duplicate of the listener gets it first.
 */
#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	void *argument = va_arg(arguments, void *);
	va_end(arguments);
	if (request == SECCOMP_IOCTL_NOTIF_RECV)
		usleep(400000);
	return (int)syscall(SYS_ioctl, fd, request, argument);
}
