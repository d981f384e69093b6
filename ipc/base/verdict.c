/* The names of verdicts, in one table, so that a log, events.jsonl and the screen use the same words. */
#include "ipc/base/verdict.h"

static const struct {
    const char *name, *sentence;
} words[IM_VERDICT_COUNT] = {
    [IM_VERDICT_OK] = {"ok", "the image is fine"},
    [IM_VERDICT_EMPTY] = {"empty", "the file is empty"},
    [IM_VERDICT_READ_ERROR] = {"read-error", "the file could not be read"},
    [IM_VERDICT_NOT_IMAGE] = {"not-an-image", "the file is not an image of a supported format"},
    [IM_VERDICT_CORRUPT] = {"corrupt", "the image data is damaged"},
    [IM_VERDICT_TRUNCATED] = {"truncated", "the file ends before the image does"},
    [IM_VERDICT_UNSUPPORTED] = {"unsupported", "this image format, or this variant of it, is not supported"},
    [IM_VERDICT_TOO_LARGE] = {"too-large",
                              "the image has more pixels, or a longer side, than the limit allows"},
    [IM_VERDICT_TOO_MANY_SCANS] = {"too-many-scans", "the image has more scans than the limit allows"},
    [IM_VERDICT_MEMORY_LIMIT] = {"memory-limit",
                                 "decoding the image needs more memory than the limit allows, or the "
                                 "machine has"},
    [IM_VERDICT_KILLED] = {"killed", "decoding the image killed its augmenter more than once"},
    [IM_VERDICT_DEADLINE] = {"deadline", "decoding the image took longer than the limit allows"},
    [IM_VERDICT_READ_HUNG] = {"read-hung", "reading the file did not come to an end, more than once"},
};

const char *im_verdict_name(unsigned verdict)
{
    return verdict < IM_VERDICT_COUNT ? words[verdict].name : "unknown";
}

const char *im_verdict_sentence(unsigned verdict)
{
    return verdict < IM_VERDICT_COUNT ? words[verdict].sentence : "this version has no such verdict";
}
