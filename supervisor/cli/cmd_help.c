/* `imsuper help`, `version`, and the hidden `supervise`. */
#include <stdio.h>

#include "ipc/base/count.h"
#include "ipc/base/image_type.h"
#include "ipc/base/sysinfo.h"
#include "supervisor/cli/commands.h"
#include "supervisor/supervise.h"

static const char overview[] =
    "imsuper trains image classifiers from folders of images as fast as the machine allows, and keeps going "
    "when "
    "parts of it die.\n"
    "\n"
    "  imsuper data synth --out data/synth                    make a small labelled image set to try\n"
    "  imsuper start --data-dir data/synth --model resnet20 --image-size 32 --epochs 3\n"
    "  imsuper status                                         which stage limits, who lives, is every sample "
    "delivered once\n"
    "\n"
    "Train    start     train, or continue the run of that name\n"
    "         stop      finish the step, save and stop the run; --now: at once\n"
    "         pause     let a run wait after its step; resume lets it go on\n"
    "         resume    let a paused run go on\n"
    "         restart   start a stage of a run again: restart augmenter#1\n"
    "         scale     more or fewer processes for a run: scale augmenters=4\n"
    "         lr-find   learning-rate range test: suggests --lr\n"
    "         recipes   files of options for start --recipe NAME; recipes NAME shows one\n"
    "Use      eval      accuracy of weights, per class; confusion matrix: eval RUN --data-dir DIR\n"
    "         predict   the likeliest classes of images: predict RUN FILE...|DIR|-\n"
    "         export    weights for other programs: ONNX, PyTorch, timm, torchvision\n"
    "         import    weights of other programs, under the names used here\n"
    "         average   the mean of several weights, with batch norm's statistics taken anew\n"
    "Look     status    state of a run; --json for programs\n"
    "         top       a run on the full screen: rings, stages, processes, GPUs, events\n"
    "         logs      what the processes of a run have logged; -f follows\n"
    "         runs      the runs of a workspace: state, epochs, accuracy; --json for programs\n"
    "         plot      charts of runs in a picture: plot RUN... --metric loss,lr\n"
    "         compare   options that differ, results and curves: compare RUN RUN\n"
    "         gpus      GPUs that --gpus can take; --json for programs\n"
    "         model     the layers of a network: shapes, parameters, multiplications, memory\n"
    "         doctor    is this machine fit for a run, and what mends it; --json for programs\n"
    "Data     data index    look at a dataset and index it\n"
    "         data organise  write train/CLASS and val/CLASS from another layout: organise SRC DST\n"
    "         data synth    make a labelled set of JPEG files\n"
    "         data verify   decode every image: bad ones, duplicates, leaks, balance\n"
    "         data stats    mean and deviation of the colours, sizes\n"
    "         data preview  a picture of what training will see\n"
    "Measure  bench data       images/s of readers and augmenters, and what limits them\n"
    "         bench all        each stage by itself and the whole, and which limits\n"
    "         bench ring       nanoseconds of a hop through the rings\n"
    "         bench decode     images/s of decoding whole images on one core\n"
    "         bench read       images/s and latency of reading\n"
    "         profile reader   latency of reads over the number of files in flight\n"
    "         bench augment    images/s of one core, and ms of each transform\n"
    "         profile augment  where an augmenter's time goes\n"
    "         bench trainer    images/s of the training step alone\n"
    "         profile trainer  where its time goes, layer by layer\n"
    "Other    version, help VERB\n"
    "\n"
    "Every flag may also stand in a YAML file (--config FILE) or the environment (IMSUPER_BATCH_SIZE=128).\n"
    "Exit status: 0 done, 1 failed, 2 usage, 3 not running, 4 unknown run, 65 bad data, 69 something is "
    "missing on this machine,\n"
    "75 stopped and saved (the same command continues), 130 stopped at once.\n";

int sv_cmd_help(struct im_conf *conf)
{
    (void)conf;
    fputs(overview, stdout);
    return IM_EXIT_OK;
}

int sv_cmd_version(struct im_conf *conf)
{
    struct im_image_type_list decoded, others;

    (void)conf;
    printf("imsuper %s (%s)\n", IMSUPER_VERSION, im_build_id());
    printf("images: %s; not: %s\n", im_image_types_list(&decoded, true), im_image_types_list(&others, false));
    return IM_EXIT_OK;
}

int sv_cmd_supervise(struct im_conf *conf)
{
    (void)conf;
    return sv_supervise();
}
