#include "napi.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "uv.h"

napi_value throw_errno(napi_env env, int error, const char *syscall) {
    char code[32], reason[128], text[256];
    napi_value message, exception;
    uv_err_name_r(-error, code, sizeof code);
    uv_strerror_r(-error, reason, sizeof reason);
    snprintf(text, sizeof text, "%s: %s (%s)", syscall, reason, code);
    if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message) != napi_ok ||
        napi_create_error(env, NULL, message, &exception) != napi_ok)
        return NULL;
    set(env, exception, "errno", make_int(env, error));
    set(env, exception, "code", make_text(env, code, strlen(code)));
    set(env, exception, "syscall", make_text(env, syscall, strlen(syscall)));
    set(env, exception, "reason", make_text(env, reason, strlen(reason)));
    napi_throw(env, exception);
    return NULL;
}

napi_value throw_type(napi_env env, const char *message) {
    napi_throw_type_error(env, NULL, message);
    return NULL;
}

bool get_args(napi_env env, napi_callback_info info, size_t want, napi_value *args) {
    size_t count = want;
    if (napi_get_cb_info(env, info, &count, args, NULL, NULL) == napi_ok && count >= want)
        return true;
    throw_type(env, "too few arguments");
    return false;
}

bool get_int(napi_env env, napi_value value, int *result) {
    if (napi_get_value_int32(env, value, result) == napi_ok)
        return true;
    throw_type(env, "an integer was expected");
    return false;
}

bool get_bytes(napi_env env, napi_value value, void **data, size_t *length) {
    bool is_buffer;
    if (napi_is_buffer(env, value, &is_buffer) == napi_ok && is_buffer &&
        napi_get_buffer_info(env, value, data, length) == napi_ok)
        return true;
    throw_type(env, "a buffer was expected");
    return false;
}

bool get_fds(napi_env env, napi_value value, int *fds, size_t max, size_t *count) {
    uint32_t length;
    if (napi_get_array_length(env, value, &length) != napi_ok || length > max) {
        throw_type(env, "an array of descriptors was expected, no longer than one message takes");
        return false;
    }
    for (uint32_t i = 0; i < length; i++) {
        napi_value element;
        if (napi_get_element(env, value, i, &element) != napi_ok || !get_int(env, element, &fds[i]))
            return false;
    }
    *count = length;
    return true;
}

bool get_text(napi_env env, napi_value value, char *text, size_t size) {
    size_t length;
    if (napi_get_value_string_utf8(env, value, NULL, 0, &length) == napi_ok && length < size &&
        napi_get_value_string_utf8(env, value, text, size, &length) == napi_ok && strlen(text) == length)
        return true;
    throw_type(env, "a shorter string, without NUL, was expected");
    return false;
}

static bool get_property(napi_env env, napi_value object, const char *name, napi_value *value) {
    napi_valuetype type;
    return napi_get_named_property(env, object, name, value) == napi_ok &&
           napi_typeof(env, *value, &type) == napi_ok && type != napi_undefined;
}

static bool get_unix(napi_env env, napi_value value, bool abstract, struct address *address) {
    struct sockaddr_un *un = (struct sockaddr_un *)&address->storage;
    char text[sizeof un->sun_path];
    if (!get_text(env, value, text, sizeof text))
        return false;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path + (abstract ? 1 : 0), text, strlen(text));
    /* An abstract name has no terminator: its length counts (unix(7)). */
    address->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(text) + 1);
    return true;
}

static bool get_inet(napi_env env, napi_value object, struct address *address) {
    struct sockaddr_in *in = (struct sockaddr_in *)&address->storage;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address->storage;
    napi_value host_value, port_value, value;
    char host[INET6_ADDRSTRLEN], scope[IF_NAMESIZE];
    int port;

    if (!get_property(env, object, "host", &host_value) || !get_property(env, object, "port", &port_value)) {
        throw_type(env, "an address with a host and a port was expected");
        return false;
    }
    if (!get_text(env, host_value, host, sizeof host) || !get_int(env, port_value, &port))
        return false;
    if (port < 0 || port > 65535) {
        throw_type(env, "a port from 0 to 65535 was expected");
        return false;
    }
    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        address->length = sizeof *in;
        return true;
    }
    if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1) {
        throw_type(env, "an IP address was expected");
        return false;
    }
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons((uint16_t)port);
    address->length = sizeof *in6;
    if (get_property(env, object, "scope", &value)) {
        if (!get_text(env, value, scope, sizeof scope))
            return false;
        in6->sin6_scope_id = if_nametoindex(scope);
        if (in6->sin6_scope_id == 0) {
            throw_errno(env, errno, "if_nametoindex");
            return false;
        }
    }
    return true;
}

bool get_address(napi_env env, napi_value object, struct address *address) {
    napi_value value;
    memset(address, 0, sizeof *address);
    if (get_property(env, object, "path", &value))
        return get_unix(env, value, false, address);
    if (get_property(env, object, "name", &value))
        return get_unix(env, value, true, address);
    return get_inet(env, object, address);
}

napi_value make_int(napi_env env, int64_t value) {
    napi_value result = NULL;
    napi_create_int64(env, value, &result);
    return result;
}

napi_value make_bool(napi_env env, bool value) {
    napi_value result = NULL;
    napi_get_boolean(env, value, &result);
    return result;
}

napi_value make_text(napi_env env, const char *text, size_t length) {
    napi_value result = NULL;
    napi_create_string_utf8(env, text, length, &result);
    return result;
}

napi_value make_undefined(napi_env env) {
    napi_value result = NULL;
    napi_get_undefined(env, &result);
    return result;
}

napi_value make_fds(napi_env env, const int *fds, size_t count) {
    napi_value result = NULL;
    napi_create_array_with_length(env, count, &result);
    for (size_t i = 0; i < count; i++)
        napi_set_element(env, result, (uint32_t)i, make_int(env, fds[i]));
    return result;
}

static void set_text(napi_env env, napi_value object, const char *name, const char *text) {
    set(env, object, name, make_text(env, text, strlen(text)));
}

napi_value make_address(napi_env env, const struct address *address) {
    const struct sockaddr_in *in = (const struct sockaddr_in *)&address->storage;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address->storage;
    char host[INET6_ADDRSTRLEN], scope[IF_NAMESIZE];
    napi_value result;

    if (napi_create_object(env, &result) != napi_ok)
        return NULL;
    switch (address->storage.ss_family) {
    case AF_INET:
        set_text(env, result, "family", "inet");
        set_text(env, result, "host", inet_ntop(AF_INET, &in->sin_addr, host, sizeof host));
        set(env, result, "port", make_int(env, ntohs(in->sin_port)));
        return result;
    case AF_INET6:
        set_text(env, result, "family", "inet6");
        set_text(env, result, "host", inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host));
        set(env, result, "port", make_int(env, ntohs(in6->sin6_port)));
        if (in6->sin6_scope_id != 0 && if_indextoname(in6->sin6_scope_id, scope) != NULL)
            set_text(env, result, "scope", scope);
        return result;
    case AF_UNIX: {
        size_t length = address->length - offsetof(struct sockaddr_un, sun_path);
        bool abstract = length > 0 && un->sun_path[0] == '\0';
        const char *text = un->sun_path + (abstract ? 1 : 0);
        size_t used = abstract ? length - 1 : strnlen(text, length);
        set_text(env, result, "family", abstract ? "abstract" : "unix");
        set(env, result, abstract ? "name" : "path", make_text(env, text, used));
        return result;
    }
    default:
        return throw_errno(env, EAFNOSUPPORT, "getsockname");
    }
}

void set(napi_env env, napi_value object, const char *name, napi_value value) {
    if (value != NULL)
        napi_set_named_property(env, object, name, value);
}

void export_functions(napi_env env, napi_value exports, const struct export *functions, size_t count) {
    for (size_t i = 0; i < count; i++) {
        napi_value function;
        if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function) ==
            napi_ok)
            set(env, exports, functions[i].name, function);
    }
}
