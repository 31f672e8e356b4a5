/* What every part of the addon needs to talk to JavaScript: arguments in, values out, system errors as exceptions. */
#ifndef BERTH_NAPI_H
#define BERTH_NAPI_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* At most 253 descriptors fit in one SCM_RIGHTS message (SCM_MAX_FD in the kernel's net/scm.h). */
#define MAX_FDS 253

struct address {
    struct sockaddr_storage storage;
    socklen_t length;
};

/* Throws an Error with errno, code and syscall. Returns NULL, so that a caller can return it. */
napi_value throw_errno(napi_env env, int error, const char *syscall);
napi_value throw_type(napi_env env, const char *message);

/* Reads exactly `want` arguments; false, with an exception pending, when there are fewer. */
bool get_args(napi_env env, napi_callback_info info, size_t want, napi_value *args);
bool get_int(napi_env env, napi_value value, int *result);
bool get_bytes(napi_env env, napi_value value, void **data, size_t *length);
/* Reads an array of at most `max` descriptors. */
bool get_fds(napi_env env, napi_value value, int *fds, size_t max, size_t *count);
/* Reads a string of less than `size` bytes. */
bool get_text(napi_env env, napi_value value, char *text, size_t size);
/* Reads the Address of src/model/reservation.ts, all families but `any`. */
bool get_address(napi_env env, napi_value value, struct address *address);

napi_value make_int(napi_env env, int64_t value);
napi_value make_bool(napi_env env, bool value);
napi_value make_text(napi_env env, const char *text, size_t length);
napi_value make_fds(napi_env env, const int *fds, size_t count);
napi_value make_address(napi_env env, const struct address *address);
napi_value make_undefined(napi_env env);
void set(napi_env env, napi_value object, const char *name, napi_value value);

/* A message over AF_UNIX: its text, and descriptors that stay the sender's, at most MAX_FDS. */
struct packet {
    void *data;
    size_t length;
    const int *fds;
    size_t count;
};
/* -1 with errno when it is not sent. */
ssize_t send_packet(int fd, const struct packet *packet, int flags);

struct export {
    const char *name;
    napi_callback function;
};
void export_functions(napi_env env, napi_value exports, const struct export *functions, size_t count);

/* One for each part; each adds its functions to `exports`. */
void init_constants(napi_env env, napi_value exports);
void init_sockets(napi_env env, napi_value exports);
void init_hold(napi_env env, napi_value exports);
void init_beside(napi_env env, napi_value exports);
void init_facts(napi_env env, napi_value exports);
void init_seccomp(napi_env env, napi_value exports);
void init_look(napi_env env, napi_value exports);
void init_messages(napi_env env, napi_value exports);
void init_requests(napi_env env, napi_value exports);
void init_discard(napi_env env, napi_value exports);
void init_states(napi_env env, napi_value exports);
void init_peers(napi_env env, napi_value exports);
void init_processes(napi_env env, napi_value exports);
void init_watch(napi_env env, napi_value exports);
void init_diag(napi_env env, napi_value exports);
void init_stamps(napi_env env, napi_value exports);
void init_paths(napi_env env, napi_value exports);
void init_lookup(napi_env env, napi_value exports);

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
