/* What `imsuper start` shows: the live line, the table of epochs, folded lines; at all widths of a terminal. */
#include <locale.h>
#include <math.h>
#include <stdlib.h>

#include "supervisor/report/epochs.h"
#include "supervisor/report/fold.h"
#include "supervisor/report/screen.h"
#include "tests/unit/ipc/base/unit.h"

static const char *line_of(const struct sv_view *view, int columns)
{
    static const struct im_phase phase = {
        .split = IM_TRAIN, .steps = 100, .batch_size = 256, .image_size = 224};
    static char line[1024];
    const struct sv_screen screen = {0};
    const struct sv_progress p = {
        .view = view, .phase = &phase, .epochs = 90, .step = 50, .eta_epoch = 8, .eta_run = 3600};

    sv_format_line(&screen, &p, columns, line, sizeof line);
    return line;
}

static struct sv_view gpu_view(void)
{
    return (struct sv_view){.limit = SV_STAGE_TRAIN,
                            .samples_per_second = 13400,
                            .gpus = {.gpus = 2,
                                     .busy = 0.97,
                                     .power_w = 1283,
                                     .temperature_c = 62,
                                     .sm_mhz = 1755,
                                     .throttled = IM_THROTTLE_POWER},
                            .per_gpu = 6700,
                            .mfu = 0.164};
}

static void gpus_are_one_segment(void **state)
{
    const struct sv_view view = gpu_view();

    (void)state;
    assert_non_null(strstr(line_of(&view, 300), "  gpu 97% 1283W 62C mfu 16% power-throttled  | read"));
}

static void what_is_unknown_is_left_out(void **state)
{
    struct sv_view view = gpu_view();

    (void)state;
    view.gpus.power_w = view.gpus.busy = (double)NAN;
    view.gpus.throttled = 0;
    view.mfu = 0;
    assert_non_null(strstr(line_of(&view, 300), "  gpu 62C  | read"));
}

static void a_range_test_counts_steps(void **state)
{
    static const struct im_phase phase = {
        .split = IM_TRAIN, .steps = 38, .batch_size = 16, .image_size = 32, .epoch = 1};
    const struct sv_view view = {.samples_per_second = 100};
    const struct sv_progress p = {.view = &view,
                                  .phase = &phase,
                                  .epochs = 3,
                                  .step = 40,
                                  .steps = 100,
                                  .eta_epoch = -1,
                                  .eta_run = 12};
    const struct sv_screen screen = {0};
    char line[200];

    (void)state;
    sv_format_line(&screen, &p, 120, line, sizeof line);
    assert_non_null(strstr(line, " 40% step 40/100  100 img/s  eta 12s"));
    assert_null(strstr(line, "2/3"));
}

static void planning_is_seen(void **state)
{
    struct sv_view view = gpu_view();
    const struct sv_screen screen = {0};
    const struct sv_progress starting = {.view = &view, .state = "starting"};
    char line[200];

    (void)state;
    sv_format_line(&screen, &starting, 100, line, sizeof line);
    assert_string_equal(line, "starting");
    view.gauge[IM_G_PLANS] = 12;
    sv_format_line(&screen, &starting, 100, line, sizeof line);
    assert_string_equal(line, "starting  cuDNN: plan 12");
    view.gauge[IM_G_PLANS_OF] = 61;
    sv_format_line(&screen, &starting, 100, line, sizeof line);
    assert_string_equal(line, "starting  cuDNN: plan 12 of 61");
    assert_non_null(strstr(line_of(&view, 300), "step 50/100  cuDNN: plan 12 of 61  13,400 img/s"));
    view.gauge[IM_G_PLANS_OF] = -1;
    sv_format_line(&screen, &starting, 100, line, sizeof line);
    assert_string_equal(line, "starting  cuDNN: another process makes the plans");
}

static void a_run_on_cpus_has_none(void **state)
{
    const struct sv_view view = {.limit = SV_STAGE_TRAIN, .samples_per_second = 400};

    (void)state;
    assert_null(strstr(line_of(&view, 300), "gpu"));
}

/* Of a run in its 90 epochs, with the longest words that are usual. */
static const char *line_at(int columns, bool utf8)
{
    static const struct im_phase phase = {
        .split = IM_TRAIN, .steps = 5004, .batch_size = 256, .image_size = 224, .epoch = 41};
    static char line[1024];
    const struct sv_screen screen = {.utf8 = utf8};
    struct sv_view view = gpu_view();
    const struct sv_progress p = {.view = &view,
                                  .phase = &phase,
                                  .epochs = 90,
                                  .step = 2502,
                                  .eta_epoch = 62,
                                  .eta_run = 7500,
                                  .state = "training"};

    view.limit = SV_STAGE_AUGMENT;
    view.gauge[IM_G_LOSS] = 6.9084;
    view.gauge[IM_G_LR] = 2.4681e-05;
    sv_format_line(&screen, &p, columns, line, sizeof line);
    return line;
}

static void what_matters_most_has_room_first(void **state)
{
    (void)state;
    assert_string_equal(line_at(79, true),
                        " 42/90  loss 6.908  lr 2.468e-05  13,400 img/s  eta 2h05m  → limited by augment");
    assert_string_equal(line_at(79, false),
                        " 42/90  50% loss 6.91 lr 2.5e-05  13,400 img/s  eta 2h05m -> augment");
    assert_string_equal(line_at(65, true), " 42/90 loss 6.91 lr 2.5e-05  13,400 img/s  eta 2h05m → augment");
    assert_string_equal(
        line_at(119, true),
        " 42/90 ━━━━━━━━────────  50% step 2502/5004  loss 6.908  lr 2.468e-05  13,400 img/s  "
        "eta 2h05m  → limited by augment");
    assert_string_equal(line_at(39, true), " 42/90 loss 6.91 lr 2.5e-05  eta 2h05m");
    assert_non_null(strstr(line_at(250, true), " step 2502/5004  loss 6.908"));
    assert_non_null(strstr(line_at(250, true), "  batch 256 · 224 px"));
}

static void no_width_is_exceeded(void **state)
{
    (void)state;
    for (int columns = 1; columns <= 300; columns++) {
        assert_true(sv_text_width(line_at(columns, true)) <= columns);
        assert_true(sv_text_width(line_at(columns, false)) <= columns);
    }
}

static void there_is_no_loss_before_the_first_step(void **state)
{
    struct sv_view view = {.limit = -1};

    (void)state;
    assert_null(strstr(line_of(&view, 300), "loss"));
    assert_null(strstr(line_of(&view, 300), "lr"));
    assert_null(strstr(line_of(&view, 300), "img/s"));
    view.gauge[IM_G_LOSS] = 2; /* and a rate of 0, as at the end of cosine */
    assert_non_null(strstr(line_of(&view, 300), "  loss 2.000  lr 0"));
}

static void a_state_out_of_the_ordinary_is_said(void **state)
{
    static const struct im_phase phase = {.split = IM_TRAIN, .steps = 10};
    const struct sv_view view = {.limit = -1};
    const struct sv_progress p = {
        .view = &view, .phase = &phase, .epochs = 1, .eta_epoch = -1, .eta_run = -1, .state = "paused"};
    const struct sv_screen screen = {0};
    char line[100];

    (void)state;
    sv_format_line(&screen, &p, 40, line, sizeof line);
    assert_non_null(strstr(line, "  1/1  paused"));
}

static struct im_json *epoch(double top1, bool best)
{
    struct im_json *j = im_json_object();

    im_json_set_int(j, "epoch", 90);
    im_json_set_int(j, "image_size", 224);
    im_json_set_real(j, "train_loss", 12.28364);
    im_json_set_real(j, "train_top1", 1);
    im_json_set_real(j, "val_loss", 1.9704);
    im_json_set_real(j, "val_top1", top1);
    im_json_set_real(j, "val_top5", 0.9321);
    im_json_set_real(j, "ema_val_top1", 0.7654);
    im_json_set_real(j, "lr", 0.00000012345);
    im_json_set_real(j, "images_per_second", 13400);
    im_json_set_real(j, "seconds", 96);
    im_json_set_bool(j, "best", best);
    return j;
}

static void the_table_of_epochs_fits(void **state)
{
    struct im_json *j = epoch(0.7512, true);
    char heading[256], row[256];

    (void)state;
    for (int columns = 20; columns <= 200; columns++)
        for (int kind = 0; kind < 4; kind++) {
            const struct sv_epochs e = {
                .columns = columns, .has_averages = kind & 1, .few_classes = (kind & 2) != 0};

            sv_epochs_heading(&e, heading, sizeof heading);
            sv_epochs_row(&e, j, row, sizeof row);
            assert_true(strlen(row) < (size_t)columns);
            assert_int_equal(strlen(row), strlen(heading));
        }
    im_json_free(&j);
}

static void the_best_epoch_is_marked(void **state)
{
    const struct sv_epochs e80 = {.columns = 80}, any = {.columns = 0, .has_averages = true};
    struct im_json *best = epoch(0.7512, true), *other = epoch((double)NAN, false);
    char line[256];

    (void)state;
    assert_string_equal(sv_epochs_heading(&e80, line, sizeof line),
                        "epoch     loss     top1  val loss  val top1     top5        lr   img/s    time");
    assert_string_equal(sv_epochs_row(&e80, best, line, sizeof line),
                        "   90  12.2836  100.00%    1.9704    75.12%*  93.21%  1.23e-07  13,400   1m36s");
    assert_string_equal(sv_epochs_row(&e80, other, line, sizeof line),
                        "   90  12.2836  100.00%    1.9704         -   93.21%  1.23e-07  13,400   1m36s");
    assert_string_equal(
        sv_epochs_heading(&any, line, sizeof line),
        "epoch   px     loss     top1  val loss  val top1     top5  ema top1         lr   img/s    time");
    im_json_free(&best);
    im_json_free(&other);
}

static const char *folded(const char *line, int columns)
{
    static char buffer[1000];

    return sv_fold(line, columns, buffer, sizeof buffer);
}

static void lines_are_folded_under_their_text(void **state)
{
    (void)state;
    assert_string_equal(folded("data    2,000 train, 400 val", 20), "data    2,000 train,\n      400 val");
    assert_string_equal(folded("data    2,000 train, 400 val, 10 classes", 32),
                        "data    2,000 train, 400 val, 10\n        classes");
    assert_string_equal(folded("        held   4 MiB  of the batch", 30),
                        "        held   4 MiB  of the\n        batch");
    assert_string_equal(folded("12:00:00 WARN reader#1 died", 16), "12:00:00 WARN\n    reader#1\n    died");
    assert_string_equal(folded("numbers   /a/path/that/is/longer/than/the/terminal now", 20),
                        "numbers\n      /a/path/that/is/longer/than/the/terminal\n      now");
    assert_string_equal(folded("  not folded   at all ", 0), "  not folded   at all ");
    assert_string_equal(folded("", 10), "");
    assert_string_equal(folded("räuber äöü ß", 10), "räuber äöü\n   ß"); /* columns are not bytes */
}

static void folding_keeps_each_word_and_the_width(void **state)
{
    static const char line[] =
        "host    96 cpu: 4 readers, 24 augmenters, 4 trainers (2 threads each); shared "
        "memory 9.21 of 62.0 GiB";

    (void)state;
    for (int columns = 16; columns <= 200; columns++) {
        char copy[1000], *rest = copy, *next = NULL;
        size_t words = 0;

        snprintf(copy, sizeof copy, "%s", folded(line, columns));
        for (char *part; (part = strsep(&rest, "\n"));)
            assert_true(sv_text_width(part) <= columns);
        snprintf(copy, sizeof copy, "%s", folded(line, columns));
        for (char *word = strtok_r(copy, " \n", &next); word; word = strtok_r(NULL, " \n", &next))
            words++;
        assert_int_equal(words, 18);
    }
}

static void widths_are_counted_in_columns(void **state)
{
    (void)state;
    assert_int_equal(sv_text_width("äöü"), 3);
    assert_int_equal(sv_text_width("日本"), 4);
    assert_int_equal(sv_text_width("a\xff"), 2);
}

/* In any locale: names of classes are UTF-8 whatever LANG is. */
static void cells_of_tables_are_as_wide_as_they_look(void **state)
{
    static const char *const locales[] = {"C.UTF-8", "C"};
    struct sv_cell_text room;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_non_null(setlocale(LC_CTYPE, locales[i]));
        assert_string_equal(sv_cell(&room, "日本", 6, false), "日本  ");
        assert_string_equal(sv_cell(&room, "日本", 6, true), "  日本");
        assert_string_equal(sv_cell(&room, "日本語", 5, false), "日本 "); /* no half of a character */
        assert_string_equal(sv_cell(&room, "e\u0301te", 4, false), "e\u0301te ");
        assert_string_equal(sv_cell(&room, "a\nb\xff", 9, false), "a\\nb\\xff ");
        assert_string_equal(sv_cell(&room, "abc", 2, false), "ab");
        assert_int_equal(sv_text_width("日本"), 4);
    }
    setlocale(LC_CTYPE, "C.UTF-8");
}

static void the_count_of_columns_is_believed_in_bounds(void **state)
{
    (void)state;
    setenv("COLUMNS", "100", 1);
    assert_int_equal(sv_terminal_columns(-1), 100);
    setenv("COLUMNS", "7", 1);
    assert_int_equal(sv_terminal_columns(-1), 80);
    unsetenv("COLUMNS");
    assert_int_equal(sv_terminal_columns(-1), 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpus_are_one_segment),
        cmocka_unit_test(what_is_unknown_is_left_out),
        cmocka_unit_test(a_range_test_counts_steps),
        cmocka_unit_test(planning_is_seen),
        cmocka_unit_test(a_run_on_cpus_has_none),
        cmocka_unit_test(what_matters_most_has_room_first),
        cmocka_unit_test(no_width_is_exceeded),
        cmocka_unit_test(there_is_no_loss_before_the_first_step),
        cmocka_unit_test(a_state_out_of_the_ordinary_is_said),
        cmocka_unit_test(the_table_of_epochs_fits),
        cmocka_unit_test(the_best_epoch_is_marked),
        cmocka_unit_test(lines_are_folded_under_their_text),
        cmocka_unit_test(folding_keeps_each_word_and_the_width),
        cmocka_unit_test(widths_are_counted_in_columns),
        cmocka_unit_test(cells_of_tables_are_as_wide_as_they_look),
        cmocka_unit_test(the_count_of_columns_is_believed_in_bounds),
    };

    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
