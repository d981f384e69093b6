/* report.html: what the files say is there, and none of it is more than text. */
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#include "ipc/base/file.h"
#include "supervisor/report/page.h"
#include "tests/unit/ipc/base/unit.h"

static void put(const char *folder, const char *name, const char *content)
{
    char path[PATH_MAX];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "we");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

/* The page; NULL: there is none. */
static char *make(const char *folder)
{
    char path[PATH_MAX], *bytes = NULL;
    struct im_text text = {""};
    size_t n;

    if (sv_page_write(folder, &text) < 0)
        fail_msg("%s", text.s);
    snprintf(path, sizeof path, "%s/report.html", folder);
    return im_read_file(path, 1 << 24, &bytes, &n, NULL) == 0 ? bytes : NULL;
}

static void must_have(const char *page, const char *what)
{
    if (!strstr(page, what))
        fail_msg("the page lacks: %s", what);
}

#define CONFIG                                                                                               \
    "# Data\ndata-dir: \"it's a <b>\\\"set\\\"</b>\"  # flag\nepochs: 3  # flag\nmodel: resnet20  # "        \
    "recipe, "                                                                                               \
    "line 2\nlr: 0.1  # default\nnesterov: true  # flag\ntf32: false  # environment\n"                       \
    "aug-hue: 0.1  # set\nreaders: 3  # chosen\nrun-name: \"x\"  # flag\n"

static void what_the_files_say_is_text(void **state)
{
    char *page;

    put(*state, "config.yaml", CONFIG);
    put(*state, "summary.csv",
        "epoch,train_loss,val_top1,lr,image_size\n1,2.5,0.25,0.1,32\n2,1.5,0.5,8.5e-07,32\n"
        "3,1.25,,,32\n");
    put(*state, "events.jsonl",
        "{\"ts\":\"2026-12-01T00:26:02.885Z\",\"event\":\"sample.bad\",\"path\":\"<script>alert(1)</"
        "script>\\u001b[2J\",\"n\":21242412}\n");
    put(*state, "classes.txt", "<img src=x onerror=y>\nb\n");
    put(*state, "left_out.txt", "a&b.txt\n");
    put(*state, "env.json", "{\"kernel\":\"6.1\",\"cpus\":2,\"memory_bytes\":21474836480}");
    put(*state, "stages.jsonl",
        "{\"limit\":\"train\"}\n{\"limit\":\"read\"}\n{\"limit\":\"train\"}\n{\"limit\":\"\"}\n");
    page = make(*state);
    assert_non_null(page);
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "<img"));
    assert_null(strstr(page, "<b>\"set"));
    assert_null(strstr(page, "\x1b"));
    assert_null(strstr(page, "http:"));
    must_have(page, "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J");
    must_have(page, "<tr><th>2026-12-01 00:26:02</th><td>sample.bad</td><td>path ");
    must_have(page, "; n 21242412</td>");
    must_have(page, "<tr><th>memory</th><td>20.00 GiB</td></tr>");
    must_have(page, "a&amp;b.txt");
    must_have(page, "&lt;img src=x onerror=y&gt;");
    must_have(page, "train (50 % of the time)");
    must_have(page, "<tr class=\"best\"><td>2</td>");
    must_have(page, "<td>8.5e-07</td>");
    must_have(page, "<b>50.00</b>best val top-1 (%), epoch 2");
    must_have(page, "<tr><th>kernel</th><td>6.1</td></tr>");
    must_have(page, "<pre>imsuper start <span>--data-dir</span> &#39;it&#39;\\&#39;&#39;s a "
                    "&lt;b&gt;&quot;set&quot;&lt;/b&gt;&#39; "
                    "<span>--epochs</span> 3 <span>--model</span> resnet20 <span>--nesterov</span> "
                    "<span>--no-tf32</span></pre>");
    assert_null(strstr(page, "nan"));
    free(page);
}

static void each_class_has_a_line(void **state)
{
    char path[PATH_MAX], *page;

    put(*state, "config.yaml", CONFIG);
    put(*state, "summary.csv", "epoch,train_loss,val_top1\n1,2.5,0.25\n2,1.5,\n");
    snprintf(path, sizeof path, "%s/per_class", (const char *)*state);
    assert_int_equal(mkdir(path, 0777), 0);
    put(*state, "per_class/epoch_001.csv",
        "class,support,predicted,precision,recall,f1\n"
        "\"a, \"\"b\"\" <i>\",8,4,0.500000,0.250000,0.333333\n\"worst\",2,0,0.000000,0.000000,0.000000\n");
    put(*state, "per_class/epoch_003.csv",
        "class,support\n\"later\",1\n"); /* of a start that was taken back */
    page = make(*state);
    must_have(page, "Each class, epoch 1");
    assert_null(strstr(page, "averaged weights"));
    must_have(page, "<th>F1</th></tr>\n<tr><th>worst</th><td>2</td><td>0</td><td>0.0000</td>");
    must_have(page,
              "<tr><th>a, &quot;b&quot; &lt;i&gt;</th><td>8</td><td>4</td><td>0.5000</td><td>0.2500</td>"
              "<td>0.3333</td></tr>");
    assert_null(strstr(page, "later"));
    free(page);
    put(*state, "per_class/epoch_001.ema.csv",
        "class,support,predicted,precision,recall,f1\n\"mean\",3,3,1.000000,1.000000,1.000000\n");
    page = make(*state);
    must_have(page, "Each class by the averaged weights, epoch 1");
    must_have(page, "(per_class/epoch_001.ema.csv)");
    must_have(page, "<tr><th>mean</th><td>3</td>");
    free(page);
    put(*state, "per_class/epoch_002.csv", "class,support,predicted,precision\n\"cut,5\n\n,,,,,,,,,\nx");
    page = make(*state); /* damaged: whatever it shows, it ends */
    must_have(page, "Each class, epoch 2");
    free(page);
}

static void a_run_that_begins_has_a_page_or_none(void **state)
{
    char *page = make(*state); /* no configuration yet */

    assert_null(page);
    put(*state, "config.yaml", CONFIG);
    assert_null(make(*state)); /* neither epoch nor step */
    put(*state, "metrics.jsonl", "{\"step\":20,\"lr\":0.1,\"loss\":2,\"split\":\"train\"}\n");
    page = make(*state);
    assert_non_null(page);
    must_have(page, "0 of 3 epochs");
    must_have(page, "<svg ");
    free(page);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(what_the_files_say_is_text),
        IN_FOLDER(each_class_has_a_line),
        IN_FOLDER(a_run_that_begins_has_a_page_or_none),
    };

    return cmocka_run_group_tests_name("page", tests, NULL, NULL);
}
