/* The few libuv symbols that the addon uses, declared by hand: node-api-headers has none, and Node exports them with a
 * stable ABI. The handle's size is asked at run time, so that no struct layout is assumed. */
#ifndef BERTH_UV_H
#define BERTH_UV_H

#include <stddef.h>

typedef struct uv_loop_s uv_loop_t;
typedef struct uv_handle_s uv_handle_t;
typedef struct uv_poll_s uv_poll_t;

#define UV_POLL 8 /* uv_handle_type */

size_t uv_handle_size(int type);
void uv_handle_set_data(uv_handle_t *handle, void *data);
void *uv_handle_get_data(const uv_handle_t *handle);
void uv_close(uv_handle_t *handle, void (*closed)(uv_handle_t *));
int uv_poll_init(uv_loop_t *loop, uv_poll_t *handle, int fd);
int uv_poll_start(uv_poll_t *handle, int events, void (*ready)(uv_poll_t *, int status, int events));
int uv_poll_stop(uv_poll_t *handle);
char *uv_err_name_r(int error, char *buffer, size_t size);
char *uv_strerror_r(int error, char *buffer, size_t size);

#endif
