/* The table of models: every network, once. From it come the choices of --model, the strides that the
 * configuration checks, the networks that trainer/model/resnet.c builds, and the classes that `imsuper model`
 * assumes. To add a residual network, add a row here and its golden numbers (CONTRIBUTING.md).
 *
 * A row of residual networks is ROW(X, constant, "name", preact, small, expansion, width, stages, blocks of each stage...).
 *   preact     pre-activation blocks, timm's names; else post-activation, torchvision's names
 *   small      for CIFAR: small stem (3x3, no pooling) by default, 10 classes in `imsuper model`
 *   expansion  a block's output has width * expansion channels; 4 means bottleneck
 *   width      channels of the stem and of the first stage's blocks; doubles with each stage */
#ifndef IPC_CONFIG_MODELS_H
#define IPC_CONFIG_MODELS_H

enum { IM_MODEL_STAGES_MAX = 4 };

/* clang-format off */
#define IM_MODEL_TABLE(ROW, X)                                                                               \
    ROW(X, IM_MODEL_RESNET18, "resnet18", false, false, 1, 64, 4, 2, 2, 2, 2)                                \
    ROW(X, IM_MODEL_RESNET34, "resnet34", false, false, 1, 64, 4, 3, 4, 6, 3)                                \
    ROW(X, IM_MODEL_RESNET50, "resnet50", false, false, 4, 64, 4, 3, 4, 6, 3)                                \
    ROW(X, IM_MODEL_RESNET101, "resnet101", false, false, 4, 64, 4, 3, 4, 23, 3)                             \
    ROW(X, IM_MODEL_RESNET152, "resnet152", false, false, 4, 64, 4, 3, 8, 36, 3)                             \
    ROW(X, IM_MODEL_RESNETV2_18, "resnetv2_18", true, false, 1, 64, 4, 2, 2, 2, 2)                           \
    ROW(X, IM_MODEL_RESNETV2_34, "resnetv2_34", true, false, 1, 64, 4, 3, 4, 6, 3)                           \
    ROW(X, IM_MODEL_RESNETV2_50, "resnetv2_50", true, false, 4, 64, 4, 3, 4, 6, 3)                           \
    ROW(X, IM_MODEL_RESNETV2_101, "resnetv2_101", true, false, 4, 64, 4, 3, 4, 23, 3)                        \
    ROW(X, IM_MODEL_RESNETV2_152, "resnetv2_152", true, false, 4, 64, 4, 3, 8, 36, 3)                        \
    ROW(X, IM_MODEL_RESNET20, "resnet20", false, true, 1, 16, 3, 3, 3, 3)                                    \
    ROW(X, IM_MODEL_RESNET32, "resnet32", false, true, 1, 16, 3, 5, 5, 5)                                    \
    ROW(X, IM_MODEL_RESNET44, "resnet44", false, true, 1, 16, 3, 7, 7, 7)                                    \
    ROW(X, IM_MODEL_RESNET56, "resnet56", false, true, 1, 16, 3, 9, 9, 9)
/* clang-format on */

/* Networks of the airbench family (trainer/model/airbench.c): ROW(X, constant, "name", channels of the three groups). */
/* clang-format off */
#define IM_AIRBENCH_TABLE(ROW, X)                                                                            \
    ROW(X, IM_MODEL_AIRBENCH94, "airbench94", 64, 256, 256)
/* clang-format on */

enum {
    IM_AIRBENCH_GROUPS = 3,
    IM_AIRBENCH_SIDE_MIN =
        25, /* after a 2x2 convolution, three halvings and windows of 3 x 3 a pixel is left */
};

/* The rows as choices of --model: X(constant, "name"). */
#define IM_MODEL_CHOICE_(X, constant, name, ...) X(constant, name)
#define IM_MODELS(X) IM_MODEL_TABLE(IM_MODEL_CHOICE_, X) IM_AIRBENCH_TABLE(IM_MODEL_CHOICE_, X)

#endif
