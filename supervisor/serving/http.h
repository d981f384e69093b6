/* The HTTP side of `imsuper predict --serve`: libmicrohttpd parses, with a thread for each connection.
 *
 *   POST /         an image, as it is or in a form of a browser (multipart/form-data): JSON of its classes
 *   GET  /         a page to drop an image on
 *   GET  /healthz  JSON: whether images are answered
 *
 * All is bounded: connections, bytes of a body and of all bodies together, seconds of a request, requests at once.
 *
 * In this folder: HTTP (http), the page (page), the queue and its batches (service), the processes that decode and
 * compute (servant), and the JSON of an answer (prediction). Bytes of clients are parsed by libmicrohttpd and by the
 * sandboxed augmenter only. */
#ifndef SUPERVISOR_SERVING_HTTP_H
#define SUPERVISOR_SERVING_HTTP_H

#include "supervisor/serving/service.h"

struct sv_http;

struct sv_http_config {
    struct sv_service *service;
    const char *const *class_name;
    uint32_t classes, tops;
    double threshold; /* of probabilities; lower ones are not given */
    const char *model;
    uint32_t size;   /* of the network's images */
    size_t body_max; /* bytes of an image */
};

/* Serves at a socket that listens, which is closed with it. 0 or a negative errno with a sentence; the socket is the
 * caller's then. */
struct sv_mhd;
int sv_http_open(const struct sv_http_config *config, const struct sv_mhd *mhd, int fd, struct sv_http **ret,
                 struct im_text *text);

/* Once a second or so: ends connections that take too long. */
void sv_http_tick(struct sv_http *h);

/* No request may wait in the service any more (sv_service_drain()). NULL is fine. */
void sv_http_close(struct sv_http **h);

/* The page of GET /. */
extern const char sv_http_page[];

#endif
