/* Where objects are, and by what right: --data-dir, the environment and the files of AWS's own tools. */
#ifndef FETCHER_ADDRESS_H
#define FETCHER_ADDRESS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "ipc/base/err.h"

#define FE_URL_BYTES 8192

/* Keys of AWS, or none of them. Never shown. */
struct fe_keys {
    char id[256], secret[256], token[4096];
};

struct fe_address {
    bool is_s3;
    char base[2048];   /* what an object's path is added to; ends with / */
    char bucket[2048]; /* S3: the address of the bucket itself */
    char prefix[1024]; /* S3: of the keys; "" or ends with / */
    char region[64];
};

/* Of a list of shards that of their folder. -EINVAL with a sentence. */
int fe_address_read(const char *data_dir, struct fe_address *ret, struct im_text *text);

/* AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; else the profile (AWS_PROFILE, default) of
 * AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials, or of AWS_CONFIG_FILE or ~/.aws/config. Without any, objects are
 * asked for without a signature, as public ones are. -EINVAL with a sentence: half of a key, or a profile that was chosen and is not
 * there or gets its keys from elsewhere; *ret is then empty. `text` may be NULL. */
int fe_keys_read(struct fe_keys *ret, struct im_text *text);

/* A value of a profile in a file of that form; false: it has none. `is_config`: sections are "profile NAME". */
bool fe_profile_value(const char *bytes, const char *profile, bool is_config, const char *key, char *ret,
                      size_t size);

/* Escapes all but letters, digits and -_.~, and / if `keeps_slashes`. 0, or -ENAMETOOLONG. */
int fe_escape(const char *s, bool keeps_slashes, char *ret, size_t size);

/* The URL of an object. 0, or -ENAMETOOLONG. */
int fe_address_url(const struct fe_address *address, const char *path, char *ret, size_t size);

#endif
