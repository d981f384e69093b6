/* Any bytes as an undo file: refused with a sentence, or paths that stay below train/ and val/. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "reader/tools/organise.h"

static void check_path(const char *path, int slashes)
{
    int count = 0;

    im_assert(strncmp(path, "train/", 6) == 0 || strncmp(path, "val/", 4) == 0);
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        const size_t n = strcspn(slash + 1, "/");

        im_assert(n > 0 && !(n == 1 && slash[1] == '.') && !(n == 2 && memcmp(slash + 1, "..", 2) == 0));
        count++;
    }
    im_assert(count == slashes);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    char *own = malloc(n + 1);
    struct im_text text = {""};
    struct rd_undo undo;

    im_assert(own != NULL);
    memcpy(own, bytes, n);
    own[n] = 0;
    if (rd_undo_parse(own, n, "an undo file", &undo, &text) == 0) {
        im_assert(undo.how < RD_HOWS && undo.source[0] == '/');
        for (uint64_t i = 0; i < undo.count; i++) {
            check_path(rd_undo_string(&undo, undo.files[i].path), 2);
            im_assert(*rd_undo_string(&undo, undo.files[i].source));
            im_assert(rd_undo_has(&undo, rd_undo_string(&undo, undo.files[i].path)));
        }
        rd_undo_fini(&undo);
    } else {
        im_assert(text.s[0]);
    }
    free(own);
    return 0;
}
