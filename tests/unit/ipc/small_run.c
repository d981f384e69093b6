/* See small_run.h. */
#include "tests/unit/ipc/small_run.h"

#include "ipc/encoded.h"

struct im_geometry small_geometry(void)
{
    return (struct im_geometry){
        .samples = {SMALL_TRAIN, SMALL_VAL},
        .cell_bytes = IM_PAGE,
        .batch_pixels_max = 4 * 4 * 3 * SMALL_BATCH_SIZE,
        .encoded_cells = SMALL_CELLS,
        .ranks = SMALL_RANKS,
        .batches = SMALL_BATCHES,
        .batch_size_max = SMALL_BATCH_SIZE,
        .readers_max = 2,
        .augmenters_max = 3,
        .slots = 1 + 2 + 3 + SMALL_RANKS,
        .classes = 10,
    };
}

int small_setup(void **state)
{
    const struct im_plan_params params = {
        .samples = {SMALL_TRAIN, SMALL_VAL},
        .epochs = 3,
        .ranks = SMALL_RANKS,
        .batch_size = {SMALL_BATCH_SIZE, SMALL_BATCH_SIZE},
        .image_size = {4, 4},
        .validate_every = 1,
    };
    const struct im_geometry g = small_geometry();
    struct small_run *s = calloc(1, sizeof *s);

    if (!s || im_plan_init(&s->plan, &params, NULL) < 0 || im_run_create(&g, "x=1\n", 5, &s->run, NULL) < 0)
        return -1;
    im_run_reset(&s->run, &s->plan, 0);
    *state = s;
    return 0;
}

int small_teardown(void **state)
{
    struct small_run *s = *state;

    im_run_close(&s->run);
    im_plan_fini(&s->plan);
    free(s);
    return 0;
}

uint64_t small_encoded_word(const struct small_run *s, uint32_t cell)
{
    return atomic_load_explicit(&s->run.encoded_word[cell], memory_order_acquire);
}

uint64_t small_batch_word(const struct small_run *s, uint32_t rank, uint64_t batch, uint32_t place)
{
    return atomic_load_explicit(im_run_batch_word(&s->run, rank, batch, place), memory_order_acquire);
}

void small_set_batch_word(struct small_run *s, uint32_t rank, uint64_t batch, uint32_t place, uint64_t word)
{
    atomic_store_explicit(im_run_batch_word(&s->run, rank, batch, place), word, memory_order_release);
}

void small_publish(struct small_run *s, uint32_t owner, uint64_t first, uint64_t last)
{
    for (uint64_t t = first; t <= last; t++) {
        struct im_encoded e;

        assert_int_equal(im_encoded_claim(&s->run, owner, UINT64_MAX, &e), 1);
        assert_int_equal(e.ticket, t);
        assert_int_equal(im_encoded_publish(&s->run, owner, &e), 0);
    }
}
