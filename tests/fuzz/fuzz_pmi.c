/* Any bytes as what a launcher's PMI server sends. */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "supervisor/cluster/pmi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sv_pmi p = {.patience = IM_SECOND};
    char value[SV_PMI_VALUE_MAX];
    struct im_text text = {""};
    int pair[2], err;

    if (size > 32768) /* what a socket holds without a reader */
        return 0;
    im_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    im_assert(write(pair[0], data, size) == (ssize_t)size && shutdown(pair[0], SHUT_WR) == 0);
    err = sv_pmi_init(&p, pair[1], &text);
    im_assert(err < 0 || strlen(p.kvs) < sizeof p.kvs);
    if (err == 0)
        err = sv_pmi_put(&p, "imsuper-key-0", "00", &text);
    if (err == 0)
        err = sv_pmi_barrier(&p, &text);
    if (err == 0)
        err = sv_pmi_get(&p, "imsuper-head", value, &text);
    im_assert(err < 0 || strlen(value) < sizeof value);
    if (err == 0)
        err = sv_pmi_finalize(&p, &text);
    im_assert(err == 0 || text.s[0]);
    close(pair[0]);
    close(pair[1]);
    return 0;
}
