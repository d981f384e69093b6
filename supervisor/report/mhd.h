/* libmicrohttpd, and the socket that it serves. The library is loaded when it is needed: it brings a library of TLS with
 * it, which would be mapped by each command otherwise, and takes longer than most commands do. */
#ifndef SUPERVISOR_REPORT_MHD_H
#define SUPERVISOR_REPORT_MHD_H

#include "ipc/config/conf.h"

#define SV_MHD_FUNCTIONS(X)                                                                                  \
    X(start_daemon)                                                                                          \
    X(stop_daemon)                                                                                           \
    X(create_response_from_buffer)                                                                           \
    X(add_response_header)                                                                                   \
    X(queue_response)                                                                                        \
    X(destroy_response)                                                                                      \
    X(lookup_connection_value)                                                                               \
    X(get_connection_info)                                                                                   \
    X(create_post_processor)                                                                                 \
    X(post_process)                                                                                          \
    X(destroy_post_processor)

enum sv_mhd_function {
#define SV_MHD_NUMBER_(name) SV_MHD_##name,
    SV_MHD_FUNCTIONS(SV_MHD_NUMBER_)
#undef SV_MHD_NUMBER_
        SV_MHD_COUNT
};

struct sv_mhd {
    void *function[SV_MHD_COUNT];
};

/* MHD_name of the library, for files that include microhttpd.h. */
#define SV_MHD(mhd, name) ((__typeof__(&MHD_##name))(mhd)->function[SV_MHD_##name])

/* -ENOENT with a sentence. */
int sv_mhd_load(struct sv_mhd *ret, struct im_text *text);

/* A socket that listens; a socket that a dead process left at a path is replaced, and one at a path is for this user
 * alone. Negative errno with a sentence. */
int sv_mhd_socket(const struct im_conf_listen *where, struct im_text *text);

#endif
