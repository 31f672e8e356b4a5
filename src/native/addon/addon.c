#include "napi.h"

NAPI_MODULE_INIT() {
    init_constants(env, exports);
    init_sockets(env, exports);
    init_hold(env, exports);
    init_beside(env, exports);
    init_messages(env, exports);
    init_requests(env, exports);
    init_discard(env, exports);
    init_states(env, exports);
    init_peers(env, exports);
    init_facts(env, exports);
    init_seccomp(env, exports);
    init_look(env, exports);
    init_processes(env, exports);
    init_watch(env, exports);
    init_diag(env, exports);
    init_stamps(env, exports);
    init_paths(env, exports);
    init_lookup(env, exports);
    return exports;
}
