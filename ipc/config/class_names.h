/* Names of classes, in the order of a network's outputs: the value of --class-names, and the file in which one program
 * gives them to another. */
#ifndef IPC_CONFIG_CLASS_NAMES_H
#define IPC_CONFIG_CLASS_NAMES_H

#include <stdint.h>

#include "ipc/base/err.h"
#include "ipc/base/json.h"

struct im_class_names {
    uint32_t count;    /* 0: not known */
    const char **name; /* [count], in `bytes` */
    char *bytes;
};

/* Reads `value`: a file with a name a line (also with CR LF; empty lines and a byte order mark do not count), or, where
 * there is no such file, names separated by commas ("cat,dog"). -EBADMSG with a sentence: no names, or one twice; -EINVAL:
 * neither a file nor such names. Others of im_read_file(). The caller calls im_class_names_fini(), also after an error. */
int im_class_names_read(const char *value, struct im_class_names *ret, struct im_text *text);
/* An array of strings, the caller's; NULL without memory. */
struct im_json *im_class_names_json(const struct im_class_names *names);
void im_class_names_fini(struct im_class_names *names); /* zeroed is fine */

/* Of names that a user gave as `value`, for weights with that many outputs, called `weights` in sentences. -EINVAL: another
 * number of names. -EBADMSG: a name that may not be shown as it is (ipc/base/printable.h), or of blanks. */
int im_class_names_check(const struct im_class_names *names, const char *value, int64_t outputs,
                         const char *weights, struct im_text *text);

#endif
