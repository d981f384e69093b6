/* summary.csv and what is made from it. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <sys/stat.h>

#include "ipc/base/json.h"
#include "supervisor/report/history.h"
#include "tests/unit/ipc/base/unit.h"

#define HEADER                                                                                               \
    "epoch,train_loss,train_top1,val_loss,val_top1,val_top5,lr,images_per_second,seconds,image_size,batch_"  \
    "size\n"

static void put(const char *folder, const char *content)
{
    char path[PATH_MAX];
    FILE *f;

    snprintf(path, sizeof path, "%s/summary.csv", folder);
    f = fopen(path, "we");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

static char *get(const char *folder, const char *name, size_t *ret_n)
{
    char path[PATH_MAX], *bytes = calloc(1, 1 << 20);
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "re");
    assert_non_null(f);
    *ret_n = fread(bytes, 1, (1 << 20) - 1, f);
    fclose(f);
    return bytes;
}

static const char two_epochs[] = HEADER "1,2.5,0.125,,,,0.1,1234.5,60,64,256\n"
                                        "2,1.5,0.5,2.25,0.25,0.75,0.05,1000,61.25,224,64\n";

static void columns_are_found_by_name_and_gaps_are_nan(void **state)
{
    struct sv_history h;
    struct im_text text = {""};

    put(*state, two_epochs);
    assert_int_equal(sv_history_load(&h, *state, &text), 0);
    assert_int_equal(h.epochs, 2);
    assert_true(sv_history_column(&h, "train_loss")[0] == 2.5 &&
                sv_history_column(&h, "train_loss")[1] == 1.5);
    assert_true(isnan(sv_history_column(&h, "val_top1")[0]) && sv_history_column(&h, "val_top1")[1] == 0.25);
    assert_true(sv_history_column(&h, "batch_size")[1] == 64);
    assert_null(sv_history_column(&h, "none"));
    sv_history_free(&h);
}

static void a_torn_last_line_is_left_out(void **state)
{
    struct sv_history h;
    struct im_text text = {""};

    put(*state, HEADER "1,2.5,0.125,,,,0.1,1234.5,60,64,256\n2,1.");
    assert_int_equal(sv_history_load(&h, *state, &text), 0);
    assert_int_equal(h.epochs, 1);
    sv_history_free(&h);
}

static void what_is_no_table_of_numbers_is_refused(void **state)
{
    static const char *const bad[] = {HEADER "1,2.5\n", HEADER "1,x,0.125,,,,0.1,1234.5,60,64,256\n",
                                      HEADER "1,2.5,0.125,,,,0.1,1234.5,60,64,256,9\n"};
    struct sv_history h;
    struct im_text text = {""};

    for (size_t i = 0; i < IM_COUNT(bad); i++) {
        put(*state, bad[i]);
        assert_int_equal(sv_history_load(&h, *state, &text), -EBADMSG);
        assert_non_null(strstr(text.s, "line 2 of"));
    }
    put(*state, "");
    assert_int_equal(sv_history_load(&h, *state, &text), -ENOENT);
}

static void charts_table_and_list_are_written(void **state)
{
    static const char *const files[] = {"plots/loss.png", "plots/accuracy.png", "plots/lr.png",
                                        "plots/throughput.png"};
    static const char markdown[] =
        "| Epoch | Train loss | Train top-1 (%) | Val loss | Val top-1 (%) | Val top-5 (%) | LR | Pixels | "
        "Images/s | Epoch time (s) |\n"
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        "| 1 | 2.5000 | 12.50 | | | | 0.1 | 64 | 1234.5 | 60.0 |\n"
        "| 2 | 1.5000 | 50.00 | 2.2500 | 25.00 | 75.00 | 0.05 | 224 | 1000.0 | 61.2 |\n";
    struct im_text text = {""};
    struct im_json *list = NULL;
    size_t n;
    char *s;

    put(*state, two_epochs);
    if (sv_history_write(*state, &text) < 0)
        fail_msg("%s", text.s);
    for (size_t i = 0; i < IM_COUNT(files); i++) {
        s = get(*state, files[i], &n);
        assert_true(n > 1000 && memcmp(s, "\x89PNG\r\n\x1a\n", 8) == 0);
        free(s);
    }
    s = get(*state, "training_log.md", &n);
    assert_string_equal(s, markdown);
    free(s);
    s = get(*state, "training_log.json", &n);
    assert_int_equal(im_json_parse(s, n, &list, &text), 0);
    free(s);
    assert_int_equal(im_json_count(list), 2);
    assert_int_equal(im_json_int_or(im_json_at(list, 1), "batch_size", 0), 64);
    assert_true(im_json_real_or(im_json_at(list, 0), "train_top1", 0) == 0.125);
    assert_int_equal(im_json_as_real(im_json_get(im_json_at(list, 0), "val_loss"), &(double){0}),
                     -EINVAL); /* null */
    im_json_free(&list);
}

static void averages_and_small_rates_are_in_the_table(void **state)
{
    static const char markdown[] = "| Epoch | Train loss | EMA val loss | EMA val top-1 (%) | LR |\n"
                                   "|---:|---:|---:|---:|---:|\n"
                                   "| 1 | 2.5000 | | | 0.1 |\n"
                                   "| 2 | 1.5000 | 1.2500 | 33.33 | 8.567e-07 |\n";
    struct im_text text = {""};
    size_t n;
    char *s;

    put(*state, "epoch,train_loss,lr,ema_val_loss,ema_val_top1,ema_val_top5\n"
                "1,2.5,0.1,,,\n2,1.5,8.5672426e-07,1.25,0.333333333,\n");
    if (sv_history_write(*state, &text) < 0)
        fail_msg("%s", text.s);
    s = get(*state, "training_log.md", &n);
    assert_string_equal(s, markdown);
    free(s);
}

static void a_run_without_an_epoch_has_nothing_to_show(void **state)
{
    struct im_text text = {""};

    put(*state, HEADER);
    if (sv_history_write(*state, &text) < 0) /* empty charts, an empty table: no epoch is over yet */
        fail_msg("%s", text.s);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(columns_are_found_by_name_and_gaps_are_nan),
        IN_FOLDER(a_torn_last_line_is_left_out),
        IN_FOLDER(what_is_no_table_of_numbers_is_refused),
        IN_FOLDER(charts_table_and_list_are_written),
        IN_FOLDER(averages_and_small_rates_are_in_the_table),
        IN_FOLDER(a_run_without_an_epoch_has_nothing_to_show),
    };

    return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
