/* Any bytes as a list of objects, as a text or as an answer of S3, and as a file of profiles: what is taken from them are
 * paths below a folder, in order, each of which is found again. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "fetcher/address.h"
#include "fetcher/listing.h"

static void check(struct fe_objects *o)
{
    struct fe_listing listing = {.n = 0};
    char path[4096], before[4096] = "", etag[FE_ETAG_BYTES];
    char *all;
    int64_t size;

    fe_objects_sort(o);
    all = malloc(o->n + 1);
    im_assert(all != NULL);
    for (uint64_t i = 0; i < o->count; i++) {
        const char *line = o->bytes + o->line[i];
        const size_t n = strcspn(line, "\n") + 1, m = strcspn(line, "\t");

        memcpy(all + listing.n, line, n);
        listing.n += n;
        im_assert(m < sizeof path && m < n);
        memcpy(path, line, m);
        path[m] = 0;
        im_assert(fe_path_is_good(path) && strcmp(before, path) < 0);
        memcpy(before, path, m + 1);
    }
    listing.bytes = all;
    for (uint64_t i = 0; i < o->count; i++) {
        const char *line = o->bytes + o->line[i];
        const size_t m = strcspn(line, "\t");

        memcpy(path, line, m);
        path[m] = 0;
        im_assert(fe_listing_find(&listing, path, &size, etag, sizeof etag));
    }
    free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fe_objects text = {0}, page = {0};
    struct im_text why = {""};
    char token[64], value[16], *copy = malloc(size + 1);
    int64_t bytes;
    char etag[8];

    im_assert(copy != NULL);
    memcpy(copy, data, size);
    copy[size] = 0;
    if (fe_objects_parse(&text, copy, size, &why) == 0)
        check(&text);
    fe_objects_fini(&text);
    if (fe_objects_parse_s3(&page, copy, size, "set/", token, sizeof token, &why) == 0)
        check(&page);
    else
        im_assert(why.s[0]);
    fe_objects_fini(&page);
    if (fe_profile_value(copy, "work", true, "region", value, sizeof value))
        im_assert(strlen(value) < sizeof value && *value);
    /* A file in the cache that somebody has changed. */
    fe_listing_find(&(struct fe_listing){copy, size}, "b/1.jpg", &bytes, etag, sizeof etag);
    free(copy);
    return 0;
}
