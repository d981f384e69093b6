/* The table holds dense rates in TFLOP/s at boost clock, without structured sparsity, from NVIDIA's data
 * sheets (where those print the sparse rate, half of it) and, for GeForce, from the architecture whitepapers'
 * rows for sums in FP32:
 *
 *   B200                    HGX B200 data sheet (8 GPUs: 36 PFLOP/s FP16, 18 TF32, both sparse;
 *                           600 TFLOP/s FP32)
 *   H200, H200 NVL          H200 Tensor Core GPU data sheet
 *   H100 (SXM, PCIe, NVL)   H100 Tensor Core GPU data sheet; the PCIe card: H100 PCIe product brief
 *   GH200                   GH200 Grace Hopper Superchip data sheet
 *   A100, A30, A10, A40     their data sheets
 *   A10G                    its data sheet (Amazon's g5 instances; not the A10's tensor rates)
 *   L40S, L40, L4           their data sheets
 *   V100, T4                their data sheets (no BF16, no TF32)
 *   RTX 3090, 4090, 5090    GA102, AD102 and Blackwell whitepapers
 *
 * Names are those of cudaDeviceProp; a name matches the longest entry that it begins with. */
#include "trainer/model/flops.h"

#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"

#define TERA 1e12

static const struct peak {
    const char *name;
    double fp16, bf16, tf32, fp32; /* TFLOP/s; 0: not in hardware */
} peaks[] = {
    {"NVIDIA B200", 2250, 2250, 1125, 75},
    {"NVIDIA H200 NVL", 835.5, 835.5, 417.5, 60},
    {"NVIDIA H200", 989.5, 989.5, 494.5, 67},
    {"NVIDIA GH200", 989.5, 989.5, 494.5, 67},
    {"NVIDIA H100 PCIe", 756.5, 756.5, 378, 51},
    {"NVIDIA H100 NVL", 835.5, 835.5, 417.5, 60},
    {"NVIDIA H100 80GB HBM3", 989.5, 989.5, 494.5, 67},
    {"NVIDIA A100", 312, 312, 156, 19.5},
    {"A100", 312, 312, 156, 19.5},
    {"NVIDIA A30", 165, 165, 82, 10.3},
    {"NVIDIA A40", 149.7, 149.7, 74.8, 37.4},
    {"NVIDIA A10", 125, 125, 62.5, 31.2},
    {"NVIDIA A10G", 70, 70, 35, 31.5},
    {"NVIDIA L40S", 362, 362, 183, 91.6},
    {"NVIDIA L40", 181, 181, 90.5, 90.5},
    {"NVIDIA L4", 121, 121, 60, 30.3},
    {"Tesla V100-PCIE", 112, 0, 0, 14},
    {"Tesla V100-SXM2", 125, 0, 0, 15.7},
    {"Tesla T4", 65, 0, 0, 8.1},
    {"NVIDIA GeForce RTX 3090 Ti", 80, 80, 40, 40},
    {"NVIDIA GeForce RTX 3090", 71, 71, 35.6, 35.6},
    {"NVIDIA GeForce RTX 4090", 165.2, 165.2, 82.6, 82.6},
    {"NVIDIA GeForce RTX 5090", 209.5, 209.5, 104.8, 104.8},
};

/* Whether a name is the entry or begins with it: "NVIDIA L4" does not match "NVIDIA L40". */
static bool flops_begins(const char *name, const char *entry)
{
    size_t n = strlen(entry);

    return strncmp(name, entry, n) == 0 && (name[n] == 0 || name[n] == ' ' || name[n] == '-');
}

double tr_peak_flops(const char *name, enum imk_dtype precision, bool tf32)
{
    const struct peak *best = NULL;

    if (strstr(name, " MIG "))
        return 0; /* a MIG instance is part of a GPU */
    for (size_t i = 0; i < IM_COUNT(peaks); i++)
        if (flops_begins(name, peaks[i].name) && (!best || strlen(peaks[i].name) > strlen(best->name)))
            best = &peaks[i];
    /* A laptop chip has the desktop's name and another clock; "D" and "Ti" are other chips. */
    if (!best || strstr(name, "Laptop") || strstr(name + strlen(best->name), " D"))
        return 0;
    switch (precision) {
    case IMK_F32:
        return TERA * (tf32 ? best->tf32 : best->fp32);
    case IMK_BF16:
        return TERA * best->bf16;
    default:
        return TERA * best->fp16;
    }
}

static int out_side(const struct tr_layer *l, int side)
{
    switch (l->kind) {
    case TR_OP_CONV:
    case TR_OP_MAXPOOL:
    case TR_OP_BLUR:
        return (side + 2 * l->pad - l->kernel) / l->stride + 1;
    case TR_OP_GAP:
        return 1;
    default:
        return side;
    }
}

double tr_training_flop(const struct tr_model *model, const struct tr_groups *groups, int size)
{
    bool backward[1024];
    int side[1024];
    double macs = 0;

    im_assert(model->layer_count <= (int)IM_COUNT(side));
    tr_groups_backward(model, groups, backward);
    for (int i = 0; i < model->layer_count; i++) {
        const struct tr_layer *l = &model->layers[i];
        double m;

        side[i] = l->in[0] < 0 ? size : out_side(l, side[l->in[0]]);
        if (l->kind != TR_OP_CONV && l->kind != TR_OP_FC)
            continue;
        m = (double)model->tensors[l->tensor].count * side[i] * side[i];
        macs += m * (1 + backward[l->in[0]] + (backward[i] && !tr_layer_is_frozen(groups, l)));
    }
    return 2 * macs;
}
