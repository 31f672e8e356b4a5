/* The comparison of stamps, which berthd and berth-generator share. */
#include <stdlib.h>
#include <string.h>

#include "../../../generators/generator.h"
#include "napi.h"

/* stampsHold(stamps): whether all that the lines of src/generator/stamps.ts tell of is still so. */
static napi_value stamps_hold(napi_env env, napi_callback_info info) {
    static const char end[] = "end\n";
    napi_value args[1];
    size_t length;
    void *bytes;
    if (!get_args(env, info, 1, args) || !get_bytes(env, args[0], &bytes, &length))
        return NULL;
    char *lines = malloc(length + sizeof end);
    if (lines == NULL)
        return make_bool(env, false);
    memcpy(lines, bytes, length);
    memcpy(lines + length, end, sizeof end);
    bool hold = is_current(lines);
    free(lines);
    return make_bool(env, hold);
}

void init_stamps(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"stampsHold", stamps_hold},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
