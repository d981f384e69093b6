/* Copies of a device's memory that reach the host while later steps run (a snapshot of the network): each part is
 * copied on the device in the order of the enqueued work, and the whole goes to the host beside that work. So a
 * step waits for the copy on the device only, and the host for nothing.
 *
 * A shadow holds its bytes twice, on the device and in host memory. The host's part may be read, by any thread, from
 * its arrival until the next add(). */
#ifndef TRAINER_BACKENDS_SHADOW_H
#define TRAINER_BACKENDS_SHADOW_H

#include <stdbool.h>
#include <stddef.h>

struct im_text;
struct tr_backend;
struct tr_shadow;

struct tr_shadow_ops {
    /* -ENOMEM with a sentence: there is no memory for it, and everything is as before. */
    int (*open)(struct tr_backend *b, size_t bytes, struct tr_shadow **ret_shadow, struct im_text *text);
    void (*close)(struct tr_backend *b, struct tr_shadow *s); /* NULL is fine; waits for what was sent */
    void *(*host)(struct tr_shadow *s);
    /* Between steps, after the arrival of what was sent before: enqueues the copy of `from` to the place `at`. */
    int (*add)(struct tr_backend *b, struct tr_shadow *s, size_t at, const void *from, size_t bytes);
    /* After all add(): sends the whole to the host. */
    int (*send)(struct tr_backend *b, struct tr_shadow *s);
    /* 1: it has arrived; 0: not yet, unless `wait`. */
    int (*arrived)(struct tr_backend *b, struct tr_shadow *s, bool wait);
};

#endif
