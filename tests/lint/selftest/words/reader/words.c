/* What is said of a file, for people. */
static const char *const help[] = {
    "the run wants a folder, and none is to be had", /* a stranger's: it does without */
    "wants", "no data set is known", "reader/words.h",
};

static char want(void)
{
    return '"'; // of ours, and "wants" twice
}
