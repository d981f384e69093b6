/* --data-dir of another machine, and what is kept of it here. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ipc/config/conf_table.h"

#define CACHE_SIZE_MIN ((uint64_t)1 << 16)

bool im_conf_is_remote(const char *data_dir)
{
    return strncmp(data_dir, "http://", 7) == 0 || strncmp(data_dir, "https://", 8) == 0 ||
           strncmp(data_dir, "s3://", 5) == 0;
}

int im_conf_cache_size(const char *s, uint64_t *ret_bytes)
{
    static const char units[] = "KMGTP";
    const char *unit;
    unsigned long long value;
    char *end;

    *ret_bytes = 0;
    if (strcmp(s, "auto") == 0)
        return 0;
    if (!isdigit((unsigned char)*s) || strspn(s, "0123456789") > 15)
        return -EINVAL;
    value = strtoull(s, &end, 10);
    unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (*end && (!unit || (end[1] && strcasecmp(end + 1, "B") != 0 && strcasecmp(end + 1, "iB") != 0)))
        return -EINVAL;
    for (long i = unit ? unit - units + 1 : 0; i > 0; i--) {
        if (value > UINT64_MAX >> 11)
            return -ERANGE;
        value <<= 10;
    }
    *ret_bytes = value;
    return value < CACHE_SIZE_MIN ? -ERANGE : 0;
}

int im_conf_check_address(const char *data_dir, struct im_text *text)
{
    const char *s = data_dir, *scheme = strstr(s, "://"), *host = scheme ? scheme + 3 : s;

    if (scheme && !im_conf_is_remote(s) && strchr(s, '/') > scheme)
        return im_fail(text, -EINVAL, "data-dir: \"%.200s\": only http://, https:// and s3:// are known", s);
    if (!im_conf_is_remote(s))
        return 0;
    if (!*host || *host == '/')
        return im_fail(text, -EINVAL, "data-dir: \"%.200s\" names no %s", s, *s == 's' ? "bucket" : "server");
    if (memchr(host, '@', strcspn(host, "/")))
        return im_fail(text, -EINVAL,
                       "data-dir: an address must not hold a password, for it is written to config.yaml and "
                       "the cache; ~/.netrc is read for http");
    if (strpbrk(s, "?#"))
        return im_fail(text, -EINVAL, "data-dir: an address with ? or # is no folder");
    for (const char *c = s; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f || (*c == ' ' && *s != 's'))
            return im_fail(text, -EINVAL, "data-dir: an address must not hold spaces or control characters");
    return 0;
}

int im_conf_check_remote(const struct im_conf *conf, struct im_text *text)
{
    uint64_t bytes;

    if (im_conf_cache_size(conf->cache_size, &bytes) < 0)
        return im_fail(
            text, -EINVAL,
            "cache-size: \"%.100s\" is neither auto nor a number of bytes such as 500M, 200G or 2T "
            "(at least 64K)",
            conf->cache_size);
    return im_conf_check_address(conf->data_dir, text);
}
