/* Any bytes as an index file: refused with a sentence, or used without a crash. The seal (magic, size,
 * checksum) is put right first in half of the tries, as chance would never get past it to the checks behind.
 *
 * Nothing here touches the file system. The check whether an index is fresh would: it opens the folder and asks for the files
 * that the input names, and so the fuzzer would walk about the machine, into slow mounts and whatever else
 * stands there. Of the stamps only the names are read; tests/unit/reader has the rest. */
#include "tests/fuzz/fuzz.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "reader/dataset/index_file.h"
#include "reader/dataset/split.h"
#include "reader/dataset/subset.h"

/* Every string must end inside: a read beyond the block is what the sanitizer sees. */
static size_t use(const struct rd_index *index)
{
    struct rd_skipped skipped;
    struct rd_source_of source;
    char path[PATH_MAX];
    size_t sum = strlen(rd_index_root(index));

    for (uint32_t label = 0; label < rd_index_class_count(index); label++)
        sum += strlen(rd_index_class(index, label));
    for (int split = 0; split < IM_SPLITS; split++) {
        uint64_t count = rd_index_count(index, (enum im_split)split);

        for (uint64_t id = 0; id < count; id++) {
            sum += strlen(rd_index_label_text(index, rd_index_label(index, (enum im_split)split, id), path,
                                              sizeof path));
            sum += rd_index_path(index, (enum im_split)split, id, path, sizeof path) > 0 ? strlen(path) : 0;
            if (rd_index_source(index, (enum im_split)split, id, &source, path, sizeof path) > 0)
                sum += strlen(path) + (size_t)(source.offset + source.bytes);
            if (rd_index_reference(index, (enum im_split)split, id, path, sizeof path) > 0)
                sum += strlen(path);
        }
    }
    for (uint64_t i = 0; i < index->header->sections[RD_STAMPS].count; i++)
        sum += strlen(index->strings + index->stamps[i].path);
    for (uint64_t i = 0; i < rd_index_left_out_count(index); i++) {
        const char *left, *note;

        rd_index_left_out(index, i, &left, &note);
        sum += strlen(left) + strlen(note);
    }
    rd_index_skipped(index, &skipped);
    return sum + strlen(skipped.first[RD_SKIP_OTHER]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct rd_index_header *header = malloc(n ? n : 1); /* of exactly n bytes, for the sanitizer */
    struct im_text text = {""};
    struct rd_index index;
    void *subset = NULL;
    size_t size;

    if (!header)
        return 0;
    memcpy(header, bytes, n);
    if (n >= sizeof *header && bytes[n - 1] % 2 == 0) {
        header->magic = RD_INDEX_MAGIC;
        header->version = RD_INDEX_VERSION;
        header->endian = RD_INDEX_ENDIAN;
        header->file_bytes = n;
        rd_index_seal(header, n);
    }
    if (rd_index_attach(header, n, &index, &text) == 0) {
        im_assert(use(&index) < SIZE_MAX);
        if (rd_subset_choose(&index, 1 + rd_index_count(&index, IM_TRAIN) / 2, 1, &subset, &size, &text) == 0)
            im_assert(rd_index_attach(subset, size, &index, &text) == 0);
        free(subset);
        subset = NULL;
    } else {
        im_assert(text.s[0]);
    }
    if (rd_index_attach(header, n, &index, &text) == 0 &&
        rd_split_choose(&index, 0.3, 1, &subset, &size, &text) == 0) {
        im_assert(rd_index_attach(subset, size, &index, &text) == 0);
        free(subset);
    }
    free(header);
    return 0;
}
