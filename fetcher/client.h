/* HTTP and S3 requests, many at a time, in one thread. It has no notion of images, files or tries. */
#ifndef FETCHER_CLIENT_H
#define FETCHER_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "fetcher/address.h"
#include "ipc/base/clock.h"

struct fe_client;

#define FE_ETAG_BYTES 128

/* What becomes of an answer's body. Each returns 0, or a negative errno that ends the request with it. */
struct fe_sink {
    int (*begin)(void *context,
                 int64_t bytes); /* its length, before the first byte; -1: the server does not say */
    int (*write)(void *context, const void *bytes, size_t n);
    void *context;
};

struct fe_request {
    const char *url;
    const char *etag; /* the object must have it still; NULL or "": any */
    bool first_byte;  /* only that: to see whether the server gives anything */
    uint64_t from,
        n; /* n > 0: only so many bytes of it, fewer where it ends before; a server that gives others has
                         failed */
    struct fe_sink sink;
    void *tag; /* comes back with the result */
};

struct fe_result {
    void *tag;
    int err; /* 0: all of the body was given to the sink. -ENOENT: 404, 410. -EACCES: 401, 403. -ESTALE: it has
                     another ETag than asked for. What the sink said. Others: of the way, the server, or time */
    int status; /* of HTTP; 0: there was no answer */
    int64_t bytes;
    int64_t total; /* of the whole object, of which a part was asked for; -1: the server did not say */
    char etag[FE_ETAG_BYTES]; /* "": the server did not say */
    bool is_md5;              /* the ETag is the MD5 sum of the object */
    bool is_page;             /* text/html */
    im_ns wait;               /* Retry-After; 0: none */
    char why[256];            /* a sentence's end: "HTTP 503", "connection refused" */
};

/* stall_ms: a request that gets less than 1 KiB a second for so long has failed. -ENOMEM. */
int fe_client_open(const struct fe_address *address, unsigned requests, unsigned stall_ms,
                   struct fe_client **ret, struct im_text *text);
void fe_client_close(struct fe_client **client); /* ends what is under way; nulls */

/* -EBUSY: as many requests are under way as there may be; -ENOMEM. */
int fe_client_start(struct fe_client *client, const struct fe_request *request);

/* Goes on with all requests, waits for up to timeout_ms, and returns how many have ended. */
unsigned fe_client_go_on(struct fe_client *client, struct fe_result *results, unsigned max, int timeout_ms);
unsigned fe_client_under_way(const struct fe_client *client);

/* Reads the keys again, for they may have been renewed. */
void fe_client_renew_keys(struct fe_client *client);

/* One request, its whole answer in malloc'ed memory with a NUL behind it. Tries again for some time where that may help.
 * -EFBIG: it is longer than bytes_max. */
int fe_client_get(struct fe_client *client, const char *url, size_t bytes_max, char **ret_bytes,
                  size_t *ret_n, struct im_text *text);

/* The same of a part: at most n bytes at `from`, into `bytes`, of an object that has this ETag (NULL or "": any). ret: err,
 * bytes, total, etag, why. */
void fe_client_get_part(struct fe_client *client, const char *url, const char *etag, uint64_t from, size_t n,
                        void *bytes, struct fe_result *ret);

#endif
