#!/usr/bin/env python3
"""Makes schedule.txt: what PyTorch's schedulers and FFCV's rule give, one line a case:
`NAME STEPS_PER_EPOCH KEY=VALUE... : lr...` or `... : lr... | momentum...` with a value for each step. Needs torch and numpy:
    python3 make_schedule.py > schedule.txt"""
import math
import warnings

import numpy as np
import torch
from torch.optim import lr_scheduler as S

warnings.filterwarnings("ignore")


def sgd(lr):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)


def run(opt, scheduler, steps, every):
    """The values used at each step, the scheduler stepped once per `every` steps."""
    lrs, momenta = [], []
    for i in range(steps):
        lrs.append(opt.param_groups[0]["lr"])
        momenta.append(opt.param_groups[0]["momentum"])
        opt.step()
        if (i + 1) % every == 0:
            scheduler.step()
    return lrs, momenta


def line(name, spe, keys, lrs, momenta=None):
    text = " ".join(f"{x:.17g}" for x in lrs)
    if momenta:
        text += " | " + " ".join(f"{x:.17g}" for x in momenta)
    print(name, spe, " ".join(f"{k}={v}" for k, v in keys.items()), ":", text)


def onecycle(spe, epochs, lr=0.4, **kw):
    opt = sgd(lr)
    steps = spe * epochs
    names = {"pct_start": "pct-start", "div_factor": "div-factor", "final_div_factor": "final-div-factor", "anneal_strategy": "anneal",
             "three_phase": "three-phase", "base_momentum": "base-momentum", "max_momentum": "max-momentum"}
    keys = {"schedule": "onecycle", "lr": lr, "epochs": epochs} | {names[k]: str(v).lower() for k, v in kw.items()}
    line("onecycle", spe, keys, *run(opt, S.OneCycleLR(opt, max_lr=lr, total_steps=steps, **kw), steps, 1))


onecycle(5, 2, lr=1.0)
onecycle(4, 5)
onecycle(7, 3, pct_start=0.25, div_factor=10.0, final_div_factor=100.0)
onecycle(6, 3, anneal_strategy="linear", base_momentum=0.8, max_momentum=0.9)
onecycle(10, 2, three_phase=True)
onecycle(10, 3, three_phase=True, pct_start=0.4, anneal_strategy="linear")
onecycle(10, 2, three_phase=True, pct_start=0.5)
onecycle(1, 4, pct_start=0.5)

# OneCycle after a warm-up: LinearLR over w steps from the first value's share to the first value, then OneCycleLR over the rest.
opt = sgd(0.04)
a, _ = run(opt, S.LinearLR(opt, start_factor=0.1, total_iters=4), 4, 1)
opt = sgd(1.0)
b, m = run(opt, S.OneCycleLR(opt, max_lr=1.0, total_steps=12), 12, 1)
line("onecycle-warm", 4, {"schedule": "onecycle", "lr": 1, "epochs": 4, "warmup-epochs": 1, "warmup-factor": 0.1}, a + b, [0.95] * 4 + m)

# A scheduler of its own for each image size, as a run that makes a new one at each change of size has.
sizes = {"resize-schedule": "1-2:32,3:64,4-6:96", "schedule-restarts": "true"}
for name, keys, make in (
    ("onecycle", {}, lambda o, n: S.OneCycleLR(o, max_lr=0.4, total_steps=n)),
    ("cosine", {"lr-min": 0.001}, lambda o, n: S.CosineAnnealingLR(o, T_max=n, eta_min=0.001)),
):
    lrs, momenta = [], []
    for epochs in (2, 1, 3):
        opt = sgd(0.4)
        a, m = run(opt, make(opt, epochs * 7), epochs * 7, 1)
        lrs, momenta = lrs + a, momenta + m
    line(name, 7, {"schedule": name, "lr": 0.4, "epochs": 6} | keys | sizes, lrs, momenta if name == "onecycle" else None)

for name, keys, make in (
    ("cosine", {"lr-min": 0.001}, lambda o, n: S.CosineAnnealingLR(o, T_max=n, eta_min=0.001)),
    ("polynomial", {}, lambda o, n: S.PolynomialLR(o, total_iters=n, power=1.0)),
    ("polynomial", {"poly-power": 2.5}, lambda o, n: S.PolynomialLR(o, total_iters=n, power=2.5)),
    ("constant", {}, lambda o, n: S.ConstantLR(o, factor=1.0, total_iters=n)),
):
    for warm in (0, 2):
        opt = sgd(0.4)
        n = 5 * 4
        main = make(opt, n - warm * 4)
        if warm:
            main = S.SequentialLR(opt, [S.LinearLR(opt, start_factor=0.05, total_iters=warm * 4), main], milestones=[warm * 4])
        more = {"warmup-epochs": warm, "warmup-factor": 0.05} if warm else {}
        line(name, 4, {"schedule": name, "lr": 0.4, "epochs": 5} | keys | more, run(opt, main, n, 1)[0])

# Stepped once an epoch; the warm-up, stepped once a step, multiplies (ChainedScheduler's product).
for name, keys, make in (
    ("step", {"step-epochs": 3, "gamma": 0.2}, lambda o: S.StepLR(o, step_size=3, gamma=0.2)),
    ("multistep", {"milestones": "2,5,6"}, lambda o: S.MultiStepLR(o, milestones=[2, 5, 6], gamma=0.1)),
    ("exponential", {"gamma": 0.9}, lambda o: S.ExponentialLR(o, gamma=0.9)),
):
    for warm in (0, 2):
        opt, n = sgd(0.4), 8 * 3
        lrs = run(opt, make(opt), n, 3)[0]
        more = {}
        if warm:
            opt = sgd(1.0)
            factors = run(opt, S.LinearLR(opt, start_factor=0.1, total_iters=warm * 3), n, 1)[0]
            lrs = [x * f for x, f in zip(lrs, factors)]
            more = {"warmup-epochs": warm, "warmup-factor": 0.1}
        line(name, 3, {"schedule": name, "lr": 0.4, "epochs": 8} | keys | more, lrs)


def cyclic(epoch, lr, epochs, peak):
    return np.interp([epoch], [0, peak, epochs], [1e-4 * lr, lr, 0])[0]


for epochs, iters, peak in ((16, 3, 2), (5, 4, 1), (4, 5, 1.5)):
    lrs = []
    for e in range(epochs):
        lrs += list(np.interp(np.arange(iters), [0, iters], [cyclic(e, 1.7, epochs, peak), cyclic(e + 1, 1.7, epochs, peak)]))
    line("triangular", iters, {"schedule": "triangular", "lr": 1.7, "epochs": epochs, "lr-peak-epoch": peak}, lrs)
