/* An address that JavaScript gives, or the kernel (`k` and its bytes). Of JavaScript it is the properties of an object: a
 * name, and a type (`s` string, `i` number, `u` undefined, else an object) with its value, each ended by a NUL. In a
 * string 0x01 stands for a NUL. Stands in for Node as far as that needs it. */
#include <setjmp.h>
#include <stdlib.h>

#include "../../../src/native/addon/napi.c"

struct napi_value__ {
    char type;
    int number;
    size_t length;
    char text[4097];
    size_t count;
    char names[8][16];
    napi_value values[8];
};

static struct napi_value__ values[64];
static size_t used;
static bool thrown;

static napi_value make(char type) {
    if (used == COUNT(values))
        abort();
    values[used] = (struct napi_value__){.type = type};
    return &values[used++];
}

napi_status napi_create_object(napi_env env, napi_value *result) {
    *result = env == NULL ? make('o') : NULL;
    return napi_ok;
}
napi_status napi_create_string_utf8(napi_env env, const char *text, size_t length, napi_value *result) {
    *result = env == NULL ? make('s') : NULL;
    (*result)->length = length == NAPI_AUTO_LENGTH ? strlen(text) : length;
    if ((*result)->length >= sizeof (*result)->text)
        abort();
    memcpy((*result)->text, text, (*result)->length);
    return napi_ok;
}
napi_status napi_create_int64(napi_env env, int64_t value, napi_value *result) {
    *result = env == NULL ? make('i') : NULL;
    (*result)->number = (int)value;
    return napi_ok;
}
napi_status napi_set_named_property(napi_env env, napi_value object, const char *name, napi_value value) {
    if (env != NULL || object->count == COUNT(object->values) || strlen(name) >= sizeof object->names[0])
        abort();
    strcpy(object->names[object->count], name);
    object->values[object->count++] = value;
    return napi_ok;
}
static napi_value property(napi_value object, const char *name) {
    for (size_t i = object->count; i > 0; i--)
        if (strcmp(object->names[i - 1], name) == 0)
            return object->values[i - 1];
    return NULL;
}
napi_status napi_get_named_property(napi_env env, napi_value object, const char *name, napi_value *result) {
    *result = property(object, name);
    if (*result == NULL && env == NULL)
        *result = make('u');
    return napi_ok;
}
napi_status napi_typeof(napi_env env, napi_value value, napi_valuetype *type) {
    *type = env == NULL && value->type == 'u' ? napi_undefined : napi_object;
    return napi_ok;
}
napi_status napi_get_value_int32(napi_env env, napi_value value, int32_t *result) {
    *result = value->number;
    return env == NULL && value->type == 'i' ? napi_ok : napi_number_expected;
}
/* As Node has it: without a buffer the length, else as much as fits, and a NUL. */
napi_status napi_get_value_string_utf8(napi_env env, napi_value value, char *text, size_t size, size_t *length) {
    if (env != NULL || value->type != 's')
        return napi_string_expected;
    *length = text == NULL || value->length < size ? value->length : size - 1;
    if (text != NULL) {
        memcpy(text, value->text, *length);
        text[*length] = '\0';
    }
    return napi_ok;
}
napi_status napi_throw(napi_env env, napi_value error) {
    thrown = env == NULL && error != NULL;
    return napi_ok;
}
napi_status napi_throw_type_error(napi_env env, const char *code, const char *message) {
    thrown = env == NULL && code == NULL && *message != '\0';
    return napi_ok;
}
napi_status napi_create_error(napi_env env, napi_value code, napi_value message, napi_value *result) {
    *result = env == NULL && code == NULL && message->type == 's' ? make('o') : NULL;
    return *result == NULL ? napi_string_expected : napi_ok;
}
char *uv_err_name_r(int error, char *buffer, size_t size) {
    snprintf(buffer, size, "E%d", -error);
    return buffer;
}
char *uv_strerror_r(int error, char *buffer, size_t size) {
    snprintf(buffer, size, "%s", strerror(-error));
    return buffer;
}

/* What napi.c has beside addresses, which none of this calls. */
napi_status napi_get_cb_info(napi_env env, napi_callback_info info, size_t *count, napi_value *args, napi_value *self,
                             void **data) {
    return env == NULL && info == NULL && count == NULL && args == NULL && self == NULL && data == NULL
               ? napi_ok
               : napi_generic_failure;
}
napi_status napi_is_buffer(napi_env env, napi_value value, bool *result) {
    *result = env == NULL && value == NULL;
    return napi_ok;
}
napi_status napi_get_buffer_info(napi_env env, napi_value value, void **data, size_t *length) {
    return env == NULL && value == NULL && data == NULL && length == NULL ? napi_ok : napi_generic_failure;
}
napi_status napi_get_array_length(napi_env env, napi_value value, uint32_t *length) {
    *length = 0;
    return env == NULL && value == NULL ? napi_ok : napi_array_expected;
}
napi_status napi_get_element(napi_env env, napi_value value, uint32_t index, napi_value *result) {
    *result = NULL;
    return env == NULL && value == NULL && index == 0 ? napi_ok : napi_generic_failure;
}
napi_status napi_get_boolean(napi_env env, bool value, napi_value *result) {
    *result = env == NULL && value ? make('b') : NULL;
    return napi_ok;
}
napi_status napi_get_undefined(napi_env env, napi_value *result) {
    *result = env == NULL ? make('u') : NULL;
    return napi_ok;
}
napi_status napi_create_array_with_length(napi_env env, size_t length, napi_value *result) {
    *result = env == NULL && length == 0 ? make('a') : NULL;
    return napi_ok;
}
napi_status napi_set_element(napi_env env, napi_value array, uint32_t index, napi_value value) {
    return env == NULL && array == NULL && value == NULL && index == 0 ? napi_ok : napi_generic_failure;
}
napi_status napi_create_function(napi_env env, const char *name, size_t length, napi_callback callback, void *data,
                                 napi_value *result) {
    *result = NULL;
    return env == NULL && name == NULL && length == 0 && callback == NULL && data == NULL ? napi_ok : napi_generic_failure;
}

static napi_value read_object(const uint8_t *data, size_t size) {
    static char text[4097];
    napi_value object = make('o');
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *name = text, *end = text + size; name < end && object->count < COUNT(object->values);) {
        char *value = name + strlen(name) + 1;
        if (value >= end || strlen(name) >= sizeof object->names[0])
            break;
        napi_value property = make(strchr("siu", *value) == NULL || *value == '\0' ? 'o' : *value);
        char *content = value + (*value != '\0');
        property->number = (int)strtol(content, NULL, 10);
        property->length = strlen(content);
        for (size_t i = 0; i < property->length; i++)
            property->text[i] = content[i] == 1 ? '\0' : content[i];
        napi_set_named_property(NULL, object, name, property);
        name = content + strlen(content) + 1;
    }
    return object;
}

/* An address that was read is shown as it was given, and not cut short. */
static void check_same(napi_value given, napi_value shown) {
    static const char *const names[] = {"path", "name", "port"};
    for (size_t i = 0; i < COUNT(names); i++) {
        const struct napi_value__ *before = property(given, names[i]), *after = property(shown, names[i]);
        if (before == NULL || after == NULL || before->type != after->type)
            continue;
        if (before->number != after->number && before->type == 'i')
            abort();
        if (before->type != 's')
            continue;
        if (before->length != after->length || memcmp(before->text, after->text, before->length) != 0)
            abort();
    }
}

/* What is shown of an address is the same address when it comes back. */
static void check_round_trip(const struct address *address, bool whole) {
    struct address again;
    napi_value shown = make_address(NULL, address);
    if (shown == NULL)
        return;
    bool read = get_address(NULL, shown, &again);
    if (!read && whole)
        abort();
    if (read && whole && (again.length != address->length ||
                          memcmp(&again.storage, &address->storage, sizeof again.storage) != 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct address address = {.length = 0};
    used = 0;
    thrown = false;
    if (size > 0 && data[0] == 'k') {
        size_t length = size - 1 < sizeof address.storage ? size - 1 : sizeof address.storage;
        memcpy(&address.storage, data + 1, length);
        address.length = (socklen_t)length;
        /* The kernel gives no less than a family, and no shorter name of an IP family. */
        if (length >= sizeof(sa_family_t))
            check_round_trip(&address, false);
        return 0;
    }
    napi_value object = read_object(data, size);
    bool read = get_address(NULL, object, &address);
    if (read == thrown)
        abort();
    if (read && (address.length > sizeof address.storage || address.length <= sizeof(sa_family_t)))
        abort();
    if (read) {
        check_round_trip(&address, true);
        check_same(object, make_address(NULL, &address));
    }
    return 0;
}
