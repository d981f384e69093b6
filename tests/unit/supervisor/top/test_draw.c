/* The screen of `imsuper top` from fixed answers of a run: as text, at usual and at all sizes.
 *
 * test_draw GOLDEN [write]: GOLDEN is tests/golden/top; write: makes the pictures there anew. */
#include <locale.h>
#include <math.h>
#include <time.h>

#include "ipc/base/file.h"
#include "supervisor/top/draw.h"
#include "tests/unit/ipc/base/unit.h"

static const char *golden;
static bool writes;

static char *read_file(const char *name)
{
    char path[512], *bytes = NULL;
    size_t n;

    snprintf(path, sizeof path, "%s/%s", golden, name);
    if (im_read_file(path, 1 << 20, &bytes, &n, NULL) < 0)
        fail_msg("cannot read %s", path);
    return bytes;
}

static struct im_json *read_json(const char *name)
{
    char *bytes = read_file(name);
    struct im_json *j = NULL;

    assert_int_equal(im_json_parse(bytes, strlen(bytes), &j, NULL), 0);
    free(bytes);
    return j;
}

/* A run that has answered twice, a second apart, and whose numbers have a past. */
static struct sv_top_run *make_run(void)
{
    struct sv_top_run *r = calloc(1, sizeof *r);
    char *events = read_file("events.jsonl");

    assert_non_null(r);
    snprintf(r->name, sizeof r->name, "rn50-a1");
    snprintf(r->run_dir, sizeof r->run_dir, "%s", golden);
    sv_top_take(r, read_json("before.json"), 10 * IM_SECOND);
    sv_top_take(r, read_json("now.json"), 11 * IM_SECOND);
    for (int i = 0; i < 200; i++) {
        r->rate.value[i] = 9000 + 900 * sin(i / 9.0);
        r->loss.value[i] = 2 + 3 * exp(-i / 60.0) + (i % 5) * 0.02;
    }
    r->rate.count = r->loss.count = 200;
    sv_top_read_events(r, events);
    sv_top_read_epochs(r);
    free(events);
    return r;
}

static void free_run(struct sv_top_run *r)
{
    sv_top_forget(r);
    free(r);
}

static struct sv_top_screen screen_of(const struct sv_top_run *r)
{
    return (struct sv_top_screen){.run = r,
                                  .runs = 2,
                                  .at = 1,
                                  .workspace = "runs",
                                  .now = 11 * IM_SECOND + IM_SECOND / 4,
                                  .utf8 = true,
                                  .log_of = "augmenter#7"};
}

/* As lines of text, blanks at their ends left out. */
static void write_text(const struct sv_canvas *c, FILE *out)
{
    for (int row = 0; row < c->rows; row++) {
        const struct sv_cell *cells = &c->cells[row * c->columns];
        int columns = c->columns;

        while (columns > 0 && strcmp(cells[columns - 1].s, " ") == 0)
            columns--;
        for (int column = 0; column < columns; column++)
            fputs(cells[column].s, out);
        fputc('\n', out);
    }
}

static char *picture(const struct sv_top_screen *s, int columns, int rows)
{
    struct sv_canvas c = {0};
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    assert_int_equal(sv_canvas_resize(&c, columns, rows), 0);
    sv_top_draw(s, &c);
    write_text(&c, f);
    assert_int_equal(fclose(f), 0);
    sv_canvas_free(&c);
    return text;
}

static void must_be(const struct sv_top_screen *s, const char *name, int columns, int rows)
{
    char *drawn = picture(s, columns, rows), *wanted, path[600], file[64];

    snprintf(file, sizeof file, "%s.%dx%d.txt", name, columns, rows);
    if (writes) {
        FILE *f;

        snprintf(path, sizeof path, "%s/%s", golden, file);
        f = fopen(path, "w");
        assert_non_null(f);
        fputs(drawn, f);
        fclose(f);
    } else {
        wanted = read_file(file);
        if (strcmp(drawn, wanted) != 0)
            fail_msg("%s differs; drawn:\n%s", file, drawn);
        free(wanted);
    }
    free(drawn);
}

static void a_run_at_usual_sizes(void **state)
{
    struct sv_top_run *r = make_run();
    struct sv_top_screen s = screen_of(r);

    (void)state;
    s.chosen = 9;
    must_be(&s, "run", 80, 24);
    must_be(&s, "run", 120, 40);
    must_be(&s, "run", 40, 8);
    must_be(&s, "run", 60, 16);
    s.utf8 = false;
    s.message = "restarting 1 augmenter";
    must_be(&s, "ascii", 80, 24);
    free_run(r);
}

static void a_run_that_does_not_answer(void **state)
{
    struct sv_top_run *r = make_run();
    struct sv_top_screen s = screen_of(r);
    char *drawn;

    (void)state;
    s.now = 21 * IM_SECOND;
    drawn = picture(&s, 80, 24);
    assert_non_null(strstr(drawn, "imsuper top  rn50-a1  no answer for 10s, before: training"));
    free(drawn);
    snprintf(r->state, sizeof r->state, "stopped"); /* and has ended: what was seen last stays */
    drawn = picture(&s, 80, 24);
    assert_non_null(strstr(drawn, "imsuper top  rn50-a1  stopped after 12m01s  epoch 17/90"));
    assert_non_null(strstr(drawn, "augmenter#0"));
    free(drawn);
    free_run(r);
}

static void a_run_of_which_only_the_folder_is_known(void **state)
{
    struct sv_top_run *r = make_run();
    struct sv_top_screen s = screen_of(r);

    (void)state;
    im_json_free(&r->status);
    snprintf(r->state, sizeof r->state, "done");
    must_be(&s, "done", 80, 24);
    snprintf(r->state, sizeof r->state, "crashed");
    must_be(&s, "crashed", 120, 40);
    free_run(r);
}

static void no_run_help_and_log(void **state)
{
    struct sv_top_run *r = make_run();
    struct sv_top_screen s = screen_of(NULL);

    (void)state;
    must_be(&s, "none", 80, 24);
    s.run = r;
    s.help = true;
    must_be(&s, "help", 80, 24);
    s.help = false;
    s.log = "ts=1 role=augmenter id=7 msg=first\nts=2 role=augmenter id=7 msg=\"\x1b[2J second\"\n";
    must_be(&s, "log", 80, 24);
    s.log_back = 1000; /* bounded by the layout */
    must_be(&s, "log", 80, 24);
    free_run(r);
}

static void a_log_scrolls(void **state)
{
    struct sv_top_run *r = make_run();
    struct sv_top_screen s = screen_of(r);
    char log[4000], *drawn;
    size_t used = 0;

    (void)state;
    for (int i = 0; i < 100; i++)
        used += (size_t)snprintf(log + used, sizeof log - used, "line %d.\n", i);
    s.log = log;
    drawn = picture(&s, 80, 24);
    assert_non_null(strstr(drawn, "line 99."));
    assert_non_null(strstr(drawn, "line 79."));
    assert_null(strstr(drawn, "line 78."));
    free(drawn);
    s.log_back = 10;
    drawn = picture(&s, 80, 24);
    assert_null(strstr(drawn, "line 90."));
    assert_non_null(strstr(drawn, "line 89."));
    free(drawn);
    s.log_back = 5000;
    drawn = picture(&s, 80, 24);
    assert_non_null(strstr(drawn, "line 0."));
    free(drawn);
    free_run(r);
}

/* At all sizes the last row has the keys or a sentence, the chosen process is to be seen, and nothing is written
 * outside (the sanitizers look). */
static void any_size_has_what_is_needed(void **state)
{
    struct sv_top_run *r = make_run();
    struct sv_top_screen s = screen_of(r);

    (void)state;
    s.chosen = 11;
    for (int columns = 1; columns <= 200; columns += columns < 90 ? 1 : 11)
        for (int rows = 1; rows <= 60; rows += rows < 26 ? 1 : 7) {
            char *drawn = picture(&s, columns, rows);

            if (columns >= SV_TOP_COLUMNS_MIN && rows >= SV_TOP_ROWS_MIN) {
                assert_non_null(strstr(drawn, "augmenter#9"));
                assert_non_null(strstr(drawn, "h Help  q Quit"));
                assert_non_null(strstr(drawn, "loss 2.135"));
            } else if (columns >= 30 && rows >= 5) {
                assert_non_null(strstr(drawn, "imsuper top needs 40 columns"));
            }
            free(drawn);
        }
    free_run(r);
}

static void answers_without_keys_are_shown_too(void **state)
{
    static const char *const texts[] = {
        "{}",
        "{\"processes\":{}}",
        "{\"processes\":[{},{\"role\":7},{\"role\":\"reader\",\"index\":-5}],\"stages\":[{}],\"gpus\":[{}]}",
        "{\"stages\":1,\"gpus\":\"x\",\"ready_cells\":9223372036854775807,\"cells\":1,\"batches\":-1}",
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(texts); i++) {
        struct sv_top_run *r = make_run();
        struct sv_top_screen s = screen_of(r);
        struct im_json *j = NULL;

        assert_int_equal(im_json_parse(texts[i], strlen(texts[i]), &j, NULL), 0);
        sv_top_take(r, j, 12 * IM_SECOND);
        for (int rows = 1; rows < 40; rows += 3)
            free(picture(&s, 80, rows));
        free_run(r);
    }
}

static void rates_are_of_the_same_process_only(void **state)
{
    struct sv_top_run *r = make_run();

    (void)state;
    assert_string_equal(r->process[2].name, "augmenter#0");
    assert_true(fabs(r->process[2].rate - 815) < 0.01);
    assert_true(fabs(r->process[2].cpu - 0.83) < 0.001);
    sv_top_take(r, read_json("before.json"),
                12 * IM_SECOND); /* counts that went back: it was started again */
    assert_true(isnan(r->process[2].rate));
    assert_true(isnan(r->process[2].cpu));
    free_run(r);
}

static void the_past_keeps_the_newest(void **state)
{
    struct sv_top_run *r = make_run();
    const int count = r->rate.count;

    (void)state;
    for (int i = 0; i < 2 * SV_TOP_PAST; i++)
        sv_top_take(r, read_json("now.json"), (20 + (im_ns)i) * IM_SECOND);
    assert_true(count < SV_TOP_PAST);
    assert_int_equal(r->rate.count, SV_TOP_PAST);
    assert_true(r->rate.value[0] == 9842.3);
    free_run(r);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_at_usual_sizes),
        cmocka_unit_test(a_run_that_does_not_answer),
        cmocka_unit_test(a_run_of_which_only_the_folder_is_known),
        cmocka_unit_test(no_run_help_and_log),
        cmocka_unit_test(a_log_scrolls),
        cmocka_unit_test(any_size_has_what_is_needed),
        cmocka_unit_test(answers_without_keys_are_shown_too),
        cmocka_unit_test(rates_are_of_the_same_process_only),
        cmocka_unit_test(the_past_keeps_the_newest),
    };

    if (argc < 2)
        return 2;
    golden = argv[1];
    writes = argc > 2 && strcmp(argv[2], "write") == 0;
    setlocale(LC_CTYPE, "C.UTF-8");
    setenv("TZ", "UTC", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
