#!/usr/bin/env python3
"""Makes optimizers.txt: STEPS steps of each optimiser in float64, by torch.optim and timm.optim.

`muon-*`: torch.optim.Muon (torch 2.15.0 was used) on matrices of SHAPES and AdamW or SGD on the other tensors, with a
rate REST_RATE times theirs. PyTorch iterates in bf16; here its function has float64 instead, and `muon-bf16` is PyTorch's as it is.

Values are not stored: both sides compute them from `draw`. Needs torch, timm (1.0.31 was used), numpy:
    python3 make_optimizers.py > optimizers.txt
Lines: `run NAME`, then `TENSOR KIND NORM DOT V0 V1 V2 V3` with KIND one of w, m, v; DOT is the sum of the tensor times
draw(DOT_STREAM, .). `norm`, `clip`: torch's clip_grad_norm_ of the first step's gradients, its factor at max_norm 1."""
import timm.optim
import torch
import torch.optim._muon

from draw import draw, summary

STEPS = 10
SIZES = [40000, 50, 20, 16]  # the third does not decay, the fourth begins as zeros


SHAPES = {0: (100, 400), 1: (10, 5)}  # Muon's matrices: a wide one, a tall one
REST_RATE = 0.5


def show(i, kind, t):
    print(i, kind, summary(t, 12))


def gradient(step, i, n):
    """Smaller for the large tensor, zero at first for the second."""
    return torch.from_numpy(draw(100 + 10 * step + i, n) * (0 if i == 1 and step < 2 else [0.25, 1, 1, 1][i]))


def run(name, make, lr):
    params = [torch.nn.Parameter(torch.from_numpy(draw(i, n) * (i != 3))) for i, n in enumerate(SIZES)]
    decay, rest = [params[0], params[1], params[3]], [params[2]]
    opt = make([{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}])
    for step in range(STEPS):
        for group in opt.param_groups:
            group["lr"] = lr * (1 + step)
        for i, p in enumerate(params):
            p.grad = gradient(step, i, p.numel())
        opt.step()
    print("run", name)
    for i, p in enumerate(params):
        show(i, "w", p)
        state = opt.state[p]
        for kind, key in (("m", "momentum_buffer"), ("m", "exp_avg"), ("v", "exp_avg_sq")):
            if key in state:
                show(i, kind, state[key])


clipped = [torch.nn.Parameter(torch.zeros(n, dtype=torch.float64)) for n in SIZES]
for i, p in enumerate(clipped):
    p.grad = gradient(0, i, p.numel())
before = clipped[0].grad.clone()
norm = torch.nn.utils.clip_grad_norm_(clipped, 1.0)
print("norm", f"{norm.item():.12g}", "clip", f"{(clipped[0].grad[0] / before[0]).item():.12g}")
run("sgd", lambda g: torch.optim.SGD(g, momentum=0.9), 0.01)
run("sgd-nesterov", lambda g: torch.optim.SGD(g, momentum=0.9, nesterov=True), 0.01)
run("adamw", lambda g: torch.optim.AdamW(g, betas=(0.9, 0.95), eps=1e-8), 0.01)
run("lars", lambda g: timm.optim.Lars(g, momentum=0.9), 0.1)
run("lars-nesterov", lambda g: timm.optim.Lars(g, momentum=0.9, nesterov=True), 0.1)
run("lamb", lambda g: timm.optim.Lamb(g, betas=(0.9, 0.95), eps=1e-6, max_grad_norm=None), 0.01)


class Muon:
    """As one optimiser: matrices by Muon, each other tensor by what `rest` makes."""

    def __init__(self, groups, rest, fixed_norm=False):
        self.shaped, by_muon, others, self.fixed_norm = {}, [], [], fixed_norm
        sizes = [(p, g["weight_decay"]) for g in groups for p in g["params"]]
        order = sorted(sizes, key=lambda pair: SIZES.index(pair[0].numel()))
        for i, (p, decay) in enumerate(order):
            if i in SHAPES:
                self.shaped[p] = torch.nn.Parameter(p.detach().reshape(SHAPES[i]))
                by_muon.append({"params": [self.shaped[p]], "weight_decay": 0 if fixed_norm else decay})
            else:
                others.append({"params": [p], "weight_decay": decay})
        self.muon, self.rest = torch.optim.Muon(by_muon, momentum=0.8), rest(others)
        self.param_groups = [{}]

    def step(self):
        for p, q in self.shaped.items():
            q.grad = p.grad.reshape(q.shape)
            if self.fixed_norm:  # as K. Jordan's airbench94 with Muon
                q.data.mul_(len(q) ** 0.5 / q.data.norm())
        for opt, rate in ((self.muon, 1), (self.rest, REST_RATE)):
            for group in opt.param_groups:
                group["lr"] = rate * self.param_groups[0]["lr"]
            opt.step()
        for p, q in self.shaped.items():
            p.data = q.detach().reshape(-1)

    @property
    def state(self):
        flat = {p: {"momentum_buffer": self.muon.state[q]["momentum_buffer"]} for p, q in self.shaped.items()}
        return {**self.rest.state, **flat}


def exact(x, coefficients, steps, eps):
    """torch.optim._muon._zeropower_via_newtonschulz without its bf16."""
    a, b, c = coefficients
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


bf16 = torch.optim._muon._zeropower_via_newtonschulz
torch.optim._muon._zeropower_via_newtonschulz = exact
run("muon-adamw", lambda g: Muon(g, lambda h: torch.optim.AdamW(h, betas=(0.9, 0.95), eps=1e-8)), 0.01)
run("muon-sgd", lambda g: Muon(g, lambda h: torch.optim.SGD(h, momentum=0.9, nesterov=True)), 0.01)
run("muon-fixed", lambda g: Muon(g, lambda h: torch.optim.SGD(h, momentum=0.9, nesterov=True), True), 0.01)
torch.optim._muon._zeropower_via_newtonschulz = bf16
run("muon-bf16", lambda g: Muon(g, lambda h: torch.optim.AdamW(h, betas=(0.9, 0.95), eps=1e-8)), 0.01)
