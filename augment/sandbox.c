/* An allow-list of system calls, killing by default.
 *
 * Image decoders are where hostile bytes meet C code. Whoever takes over an augmenter finds a process that
 * can read the images of the set and write into the rings, and nothing more: no network, no program to start,
 * no file to change but that of a pixel cache (ipc/pixel_cells.h), no signal to send. Reading stays, because files larger than a cell are read here; which
 * ones, Landlock decides, where the kernel has it.
 *
 * The list is that of every sandbox (ipc/sandbox.c). A call that is not on it kills instead of failing: a decoder that
 * goes on after a refused call is nothing to rely on. */
#include "augment/sandbox.h"

#include <sys/syscall.h>

#include "augment/decode/decode.h"
#include "ipc/base/count.h"

/* Beside those of every sandbox. */
static const int calls[] = {SYS_preadv2, SYS_pwrite64, SYS_fstatfs};

int au_sandbox_enter(const char *read_root, const char *seek_file, bool avif, bool tells,
                     struct im_sandbox_state *ret, struct im_text *text)
{
    const struct im_sandbox wanted = {
        .calls = calls,
        .call_count = IM_COUNT(calls),
        .opens_files = true,
        .folder = read_root,
        .files = {seek_file && *seek_file ? seek_file : NULL},
    };
    int err;

    if (avif)
        au_avif_load();
    au_avif_seal();
    err = im_sandbox_enter(&wanted, ret, text);

    if (err == 0 && tells)
        im_sandbox_log(&wanted, ret, text);
    return err;
}
