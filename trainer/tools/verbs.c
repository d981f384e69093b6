#include "trainer/tools/verbs.h"

#include "ipc/base/count.h"
#include "trainer/tools/answers.h"
#include "trainer/tools/average.h"
#include "trainer/tools/bench.h"
#include "trainer/tools/export.h"
#include "trainer/tools/gpus.h"
#include "trainer/tools/import.h"
#include "trainer/tools/largest.h"
#include "trainer/tools/memory.h"
#include "trainer/tools/model.h"
#include "trainer/tools/weights.h"

static const struct im_command verbs[] = {
    {.name = "bench",
     .typed = "imsuper bench trainer",
     .usual = "--model resnet50 --image-size 224 --batch-size 16 [--json] [--compare old.json]",
     .what = "Measures images/s of the training step on random pixels.",
     .options = IM_FOR_STEPS | IM_FOR_MEASURED,
     .check = IM_CHECK_NETWORK,
     .run = tr_cmd_bench},
    {.name = "profile",
     .typed = "imsuper profile trainer",
     .usual = "--model resnet50 --image-size 224 --batch-size 16 [-o x.speedscope.json]",
     .what = "Shows where the time of a training step goes, layer by layer.",
     .options = IM_FOR_STEPS | IM_FOR_PROFILE,
     .check = IM_CHECK_NETWORK,
     .run = tr_cmd_profile},
    {.name = "model",
     .typed = "imsuper model",
     .usual = "[--model NAME] [--init-from FILE]",
     .what = "Shows the layers of a network; with --init-from FILE what of a file of weights does not fit.",
     .options = IM_FOR_MODEL,
     .check = IM_CHECK_VALUES,
     .run = tr_cmd_model},
    {.name = "memory",
     .typed = "imsuper memory",
     .usual = "[GPU] [--model resnet50] [--batch-size 256] [--json]",
     .what = "Plans what fits a kind of GPU, which need not be there: memory, largest batch.",
     .options = IM_FOR_MEMORY,
     .check = IM_CHECK_VALUES,
     .operand = "gpu-kind",
     .run = tr_cmd_memory},
    {.name = "weights",
     .typed = "imsuper-trainer weights",
     .usual = "--init-from FILE",
     .what = "Prints which network a file of weights is for, and its classes, as JSON.",
     .options = IM_FOR_MODEL,
     .required = "init-from",
     .is_inner = true,
     .run = tr_cmd_weights},
    {.name = "export",
     .typed = "imsuper export",
     .usual = "WEIGHTS|RUN [--format onnx|pt|safetensors|timm|torchvision] -o FILE",
     .what = TR_EXPORT_WHAT,
     .options = IM_FOR_EXPORT,
     .operand = "weights-from",
     .operand_needed = true,
     .run = tr_cmd_export},
    {.name = "import",
     .typed = "imsuper import",
     .usual = "WEIGHTS [--class-names FILE|A,B,...] -o FILE.safetensors",
     .what =
         "Writes weights of PyTorch, torchvision or timm (.pt, .pth, safetensors) under the names used "
         "here,\n"
         "and says which network they are of and what was renamed. --class-names gives their classes names.",
     .options = IM_FOR_IMPORT,
     .operand = "weights-from",
     .operand_needed = true,
     .required = "output",
     .run = tr_cmd_import},
    {.name = "average",
     .typed = "imsuper average",
     .usual = "WEIGHTS|RUN WEIGHTS|RUN ... [--ratio 0.3,0.7] -o FILE.safetensors",
     .what =
         "Averages weights of the same network (a weight soup), and takes the running statistics of batch\n"
         "norm anew over training images (--data-dir, or those of the first run).",
     .options = IM_FOR_AVERAGE,
     .operand = "weights-list",
     .operand_list = true,
     .operand_needed = true,
     .required = "output",
     .run = tr_cmd_average},
    {.name = "largest",
     .typed = "imsuper-trainer largest",
     .usual = "--model resnet50 --image-size 224",
     .what = "Prints the largest batch that fits a GPU, as JSON.",
     .options = IM_FOR_START | IM_FOR_STEPS,
     .is_inner = true,
     .run = tr_cmd_largest},
    {.name = "answers", .typed = "imsuper predict --serve", .is_inner = true, .words = tr_words_answers},
    {.name = "gpus",
     .typed = "imsuper gpus --json",
     .what = "Lists the GPUs that a run started here could take, as JSON.",
     .run = tr_cmd_gpus},
};

int tr_verb_main(int argc, char **argv)
{
    return im_command_main("imsuper-trainer", verbs, IM_COUNT(verbs), argc, argv);
}
