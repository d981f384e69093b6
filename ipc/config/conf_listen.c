/* Where something is served: PORT of this machine alone, ADDRESS:PORT, [IPv6]:PORT or unix:PATH. Addresses are numbers,
 * or localhost: a name would have to be looked up. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/config/conf_table.h"

static bool is_address(int family, const char *s)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    return inet_pton(family, s, bytes) == 1;
}

static int parse_port(const char *s, uint16_t *ret)
{
    const size_t digits = strspn(s, "0123456789");
    unsigned long port = digits > 0 && digits <= 5 && !s[digits] ? strtoul(s, NULL, 10) : 0;

    if (port == 0 || port > UINT16_MAX)
        return -EINVAL;
    *ret = (uint16_t)port;
    return 0;
}

int im_conf_listen(const char *s, struct im_conf_listen *ret)
{
    const char *colon = strrchr(s, ':');
    size_t n = colon ? (size_t)(colon - s) : 0;

    *ret = (struct im_conf_listen){.port = 0};
    if (strncmp(s, "unix:", 5) == 0) {
        if (!s[5] || strlen(s + 5) >= sizeof ret->path)
            return -EINVAL;
        memcpy(ret->path, s + 5, strlen(s + 5) + 1);
        return 0;
    }
    if (parse_port(colon ? colon + 1 : s, &ret->port) < 0 || n >= sizeof ret->address)
        return -EINVAL;
    memcpy(ret->address, colon ? s : "127.0.0.1", colon ? n : 9);
    if (strcmp(ret->address, "localhost") == 0)
        memcpy(ret->address, "127.0.0.1", 10);
    if (n > 2 && s[0] == '[' && s[n - 1] == ']') {
        memmove(ret->address, ret->address + 1, n);
        ret->address[n - 2] = 0;
        ret->is_ipv6 = true;
    }
    return is_address(ret->is_ipv6 ? AF_INET6 : AF_INET, ret->address) ? 0 : -EINVAL;
}
