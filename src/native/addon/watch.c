/* Waiting for a descriptor in Node's own loop (uv_poll). The descriptor stays the caller's and must outlive the watch:
 * close the watch first. */
#include <stdlib.h>

#include "napi.h"
#include "uv.h"

struct watch {
    uv_poll_t *poll;
    napi_env env;
    napi_ref callback;
    napi_async_context context;
    napi_async_cleanup_hook_handle cleanup;
    bool closing;
    bool collected; /* JavaScript has let go of it: free it once the loop has, too */
};

static void release(struct watch *watch) {
    free(watch->poll);
    free(watch);
}

static void on_closed(uv_handle_t *handle) {
    struct watch *watch = uv_handle_get_data(handle);
    free(watch->poll);
    watch->poll = NULL;
    /* At the end of the environment this tells Node that it may go on. */
    napi_remove_async_cleanup_hook(watch->cleanup);
    if (watch->collected)
        release(watch);
}

static void close_watch(struct watch *watch) {
    if (watch->closing)
        return;
    watch->closing = true;
    uv_poll_stop(watch->poll);
    napi_delete_reference(watch->env, watch->callback);
    napi_async_destroy(watch->env, watch->context);
    uv_close((uv_handle_t *)watch->poll, on_closed);
}

static void on_cleanup(napi_async_cleanup_hook_handle handle, void *data) {
    (void)handle;
    close_watch(data);
}

static void on_collected(napi_env env, void *data, void *hint) {
    struct watch *watch = data;
    (void)env;
    (void)hint;
    watch->collected = true;
    if (watch->closing && watch->poll == NULL)
        release(watch);
    else
        close_watch(watch);
}

static void on_ready(uv_poll_t *poll, int status, int events) {
    struct watch *watch = uv_handle_get_data((uv_handle_t *)poll);
    napi_env env = watch->env;
    napi_value callback, self, result, arguments[1];
    napi_handle_scope scope;
    if (napi_open_handle_scope(env, &scope) != napi_ok)
        return;
    /* On a poll error the caller's own read or write learns the real errno, so it is told that both are possible. */
    arguments[0] = make_int(env, status < 0 ? 3 : events);
    if (napi_get_reference_value(env, watch->callback, &callback) == napi_ok &&
        napi_get_global(env, &self) == napi_ok &&
        /* Not napi_call_function: promises made in it would stall until the next turn of the loop. */
        napi_make_callback(env, watch->context, self, callback, 1, arguments, &result) == napi_pending_exception) {
        napi_value exception;
        if (napi_get_and_clear_last_exception(env, &exception) == napi_ok)
            napi_fatal_exception(env, exception);
    }
    napi_close_handle_scope(env, scope);
}

/* watch(fd, events, callback): an opaque watch; the callback gets libuv's events. */
static napi_value start_watch(napi_env env, napi_callback_info info) {
    napi_value args[3], name, external;
    napi_valuetype type;
    uv_loop_t *loop;
    int fd, events;
    if (!get_args(env, info, 3, args) || !get_int(env, args[0], &fd) || !get_int(env, args[1], &events))
        return NULL;
    if (napi_typeof(env, args[2], &type) != napi_ok || type != napi_function)
        return throw_type(env, "a function was expected");
    struct watch *watch = calloc(1, sizeof *watch);
    uv_poll_t *poll = calloc(1, uv_handle_size(UV_POLL));
    int error = -12; /* -ENOMEM */
    if (watch == NULL || poll == NULL || napi_get_uv_event_loop(env, &loop) != napi_ok ||
        (error = uv_poll_init(loop, poll, fd)) < 0) {
        free(watch);
        free(poll);
        return throw_errno(env, -error, "uv_poll_init");
    }
    watch->poll = poll;
    watch->env = env;
    uv_handle_set_data((uv_handle_t *)poll, watch);
    name = make_text(env, "berth", 5);
    napi_create_reference(env, args[2], 1, &watch->callback);
    napi_async_init(env, NULL, name, &watch->context);
    napi_add_async_cleanup_hook(env, on_cleanup, watch, &watch->cleanup);
    if (napi_create_external(env, watch, on_collected, NULL, &external) != napi_ok ||
        (error = uv_poll_start(poll, events, on_ready)) < 0) {
        close_watch(watch);
        return throw_errno(env, -error, "uv_poll_start");
    }
    return external;
}

static bool get_watch(napi_env env, napi_value value, struct watch **watch) {
    void *data;
    if (napi_get_value_external(env, value, &data) != napi_ok) {
        throw_type(env, "a watch was expected");
        return false;
    }
    *watch = data;
    return true;
}

/* rewatch(watch, events): waits for other events from here on; 0 waits for none. */
static napi_value change_watch(napi_env env, napi_callback_info info) {
    napi_value args[2];
    struct watch *watch;
    int events;
    if (!get_args(env, info, 2, args) || !get_watch(env, args[0], &watch) || !get_int(env, args[1], &events))
        return NULL;
    int error = watch->closing ? 0
                : events == 0  ? uv_poll_stop(watch->poll)
                               : uv_poll_start(watch->poll, events, on_ready);
    return error < 0 ? throw_errno(env, -error, "uv_poll_start") : make_undefined(env);
}

static napi_value end_watch(napi_env env, napi_callback_info info) {
    napi_value args[1];
    struct watch *watch;
    if (!get_args(env, info, 1, args) || !get_watch(env, args[0], &watch))
        return NULL;
    close_watch(watch);
    return make_undefined(env);
}

void init_watch(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"watch", start_watch},
        {"rewatch", change_watch},
        {"unwatch", end_watch},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
