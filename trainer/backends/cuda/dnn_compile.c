/* Compiles engines in threads. cuDNN compiles on the thread that asks, a second for each engine of batch norm, and a
 * handle serves one thread at a time. So each thread has a handle and a graph of its own, and hands its plan over
 * as text, which the handle of the runs loads in milliseconds. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/backends/cuda/dnn_impl.h"

struct compiler {
    struct tr_dnn *dnn;
    struct tr_cudnn *cudnn;
    struct tr_cudnn_graph *graph; /* of the operation and formulation below */
    char key[TR_DNN_KEY];
    int graph_formulation;
    /* what is asked for */
    const struct tr_dnn_choice *choice;
    int formulation;
    struct tr_cudnn_saved *ret;
};

struct tr_dnn_compilers {
    int count;
    struct compiler compilers[TR_DNN_COMPILERS_MAX];
};

static int processors(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) < 0 ? 1 : CPU_COUNT(&set);
}

struct tr_dnn_compilers *tr_dnn_compilers_new(struct tr_dnn *dnn)
{
    const int count = processors() < TR_DNN_COMPILERS_MAX ? processors() : TR_DNN_COMPILERS_MAX;
    struct tr_dnn_compilers *p = count > 1 ? calloc(1, sizeof *p) : NULL;

    if (!p)
        return NULL;
    p->count = count;
    for (int i = 0; i < count; i++)
        p->compilers[i].dnn = dnn;
    return p;
}

void tr_dnn_compilers_free(struct tr_dnn_compilers *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->count; i++) {
        tr_cudnn_graph_free(p->compilers[i].graph);
        tr_cudnn_close(p->compilers[i].cudnn);
    }
    free(p);
}

int tr_dnn_compilers_count(const struct tr_dnn_compilers *p)
{
    return p->count;
}

/* Makes the thread's handle and graph, unless it has them. */
static int get_ready(struct compiler *w)
{
    const struct tr_dnn_graph *g = &w->choice->graphs[w->formulation];
    const struct tr_cudnn_rules rules = tr_dnn_rules(w->dnn, w->choice);
    int err = tr_gpu_enter(w->dnn->gpu);

    if (err == 0 && !w->cudnn)
        err = tr_cudnn_open(tr_gpu_stream(w->dnn->gpu, TR_GPU_COMPUTE), &w->cudnn, NULL);
    if (err < 0 ||
        (w->graph && w->graph_formulation == w->formulation && strcmp(w->key, w->choice->key) == 0))
        return err;
    tr_cudnn_graph_free(w->graph);
    w->graph = NULL;
    err = tr_cudnn_graph_new(w->cudnn, g->tensors, g->tensor_count, g->ops, g->op_count, &rules, &w->graph,
                             NULL);
    memcpy(w->key, w->choice->key, sizeof w->key);
    w->graph_formulation = w->formulation;
    return err;
}

static void *compile(void *argument)
{
    struct compiler *w = argument;
    struct tr_cudnn_plan *plan = NULL;
    char *bytes = NULL;
    int err = get_ready(w);

    for (int i = 0; err == 0 && !plan && i < tr_cudnn_graph_engines(w->graph); i++)
        if (strcmp(tr_cudnn_graph_engine(w->graph, i), w->ret->name) == 0)
            err = tr_cudnn_plan_new(w->graph, i, &plan, NULL);
    if (err == 0 && plan && tr_cudnn_plan_save(plan, &bytes, &w->ret->n, NULL) == 0)
        w->ret->bytes = bytes;
    tr_cudnn_plan_free(plan);
    return NULL;
}

void tr_dnn_compile(struct tr_dnn_compilers *p, const struct tr_dnn_choice *c, int formulation, int first,
                    int count, struct tr_cudnn_saved *ret_plans)
{
    pthread_t threads[TR_DNN_COMPILERS_MAX];
    bool begun[TR_DNN_COMPILERS_MAX];

    im_assert(count <= p->count);
    for (int i = 0; i < count; i++) {
        struct compiler *w = &p->compilers[i];

        ret_plans[i] =
            (struct tr_cudnn_saved){.name = tr_cudnn_graph_engine(c->formulations[formulation], first + i),
                                    .workspace_limit = w->dnn->config.workspace_limit};
        w->choice = c;
        w->formulation = formulation;
        w->ret = &ret_plans[i];
        begun[i] = pthread_create(&threads[i], NULL, compile, w) == 0;
    }
    for (int i = 0; i < count; i++) {
        if (begun[i])
            pthread_join(threads[i], NULL);
        else
            compile(&p->compilers[i]);
    }
}
