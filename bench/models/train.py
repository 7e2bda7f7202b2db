#!/usr/bin/env python3
"""Trains one of the research world's models. Goes on from its last checkpoint; stops at --tokens, or when told to (SIGTERM, SIGINT).

    python train.py --size large --runs train.npz --tune tune.npz --tokenizer tokenizer --out DIR [--tokens 40e6]

Plain next-token training on what the agent itself writes, with a small weight on what it reads. Short runs first. Muon for the matrices
of the layers (momentum, orthogonalised by five Newton-Schulz steps), Adam for the rest; an average of the weights is what is evaluated
and exported. `--decay N` lets the learning rate fall to a tenth over the N tokens before --tokens. Everything random follows from --seed.

DIR/state.pt: the checkpoint. DIR/log.jsonl: a line per evaluation.
"""
import argparse
import json
import pathlib
import signal
import time

import numpy as np
import torch
from torch.nn import functional as F

from data import Encoder, Runs
from evaluate import evaluate, forward, tensors
from network import Network, config_of

HERE = pathlib.Path(__file__).parent
SIZES = json.loads((HERE / "sizes.json").read_text())
RATES = {"small": 4e-3, "wide": 2e-3, "large": 1.2e-3}


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("--size", choices=list(SIZES), required=True)
    for name in ("--runs", "--tune", "--tokenizer", "--out"):
        p.add_argument(name, required=True)
    p.add_argument("--layers", type=int, help="train with fewer layers; a later start with more goes on from there")
    p.add_argument("--tokens", type=float, default=40e6, help="tokens to train on in all")
    p.add_argument("--decay", type=float, default=0, help="of these, at the end, with a falling learning rate")
    p.add_argument("--batch", type=int, default=8192, help="tokens per step")
    p.add_argument("--rate", type=float, help=f"learning rate; default {RATES}")
    p.add_argument("--short", type=float, default=3e6, help="tokens until runs of every length take part")
    p.add_argument("--read-weight", type=float, default=0.1, help="of tokens that the agent only reads, ...")
    p.add_argument("--read-until", type=float, default=4e6, help="... until so many tokens: it helps copying to begin, and costs a seventh")
    p.add_argument("--drills", help="reading practice (export.ts --drills), taken instead of runs for a share of the steps ...")
    p.add_argument("--drill-share", type=float, default=0.8, help="... that begins with this ...")
    p.add_argument("--drill-until", type=float, default=10e6, help="... and falls to a tenth of it at so many tokens")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--device", default="cpu")
    p.add_argument("--every", type=float, default=180, help="processor seconds between evaluations; checkpoints come every five minutes")
    p.add_argument("--tune-runs", type=int, default=96)
    return p.parse_args()


def orthogonal(g):
    """The nearest matrix with singular values about 1 (Newton-Schulz, quintic)."""
    tall = g.shape[-2] > g.shape[-1]
    x = g.mT if tall else g
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x


class Optimizer:
    """Muon for matrices of the layers, Adam for the rest. Updates have a root mean square of about 0.2 and 1 times the rate."""

    def __init__(self, model):
        self.named = named = list(model.named_parameters())
        self.matrices = [p for n, p in named if p.ndim == 2 and n.startswith("layers")]
        self.others = [p for n, p in named if not (p.ndim == 2 and n.startswith("layers"))]
        self.momentum = [torch.zeros_like(p) for p in self.matrices]
        self.first = [torch.zeros_like(p) for p in self.others]
        self.second = [torch.zeros_like(p) for p in self.others]
        self.steps = 0

    @torch.no_grad()
    def step(self, rate):
        self.steps += 1
        for p, m in zip(self.matrices, self.momentum):
            m.mul_(0.95).add_(p.grad, alpha=0.05)
            update = orthogonal(0.05 * p.grad + 0.95 * m) * (0.2 * max(p.shape) ** 0.5)
            p.mul_(1 - 0.05 * rate).add_(update, alpha=-rate)
        for p, m, v in zip(self.others, self.first, self.second):
            m.mul_(0.9).add_(p.grad, alpha=0.1)
            v.mul_(0.98).addcmul_(p.grad, p.grad, value=0.02)
            mean = m / (1 - 0.9**self.steps)
            p.add_(mean / ((v / (1 - 0.98**self.steps)).sqrt() + 1e-8), alpha=-rate)

    def lists(self):
        matrices, others = ([n for n, p in self.named if any(p is q for q in group)] for group in (self.matrices, self.others))
        return {"momentum": (matrices, self.momentum), "first": (others, self.first), "second": (others, self.second)}

    def state(self):
        return {"steps": self.steps, **{k: dict(zip(names, values)) for k, (names, values) in self.lists().items()}}

    def load(self, state):
        for k, (names, values) in self.lists().items():
            for name, value in zip(names, values):
                if name in state[k]:
                    value.copy_(state[k][name])
        self.steps = state["steps"]


def grown(named, have, want):
    """Names of a network with `have` layers as in one with `want`, spread evenly. The layers between begin as identities."""
    def moved(name):
        parts = name.split(".")
        if parts[0] == "layers":
            parts[1] = str(int(parts[1]) * want // have)
        return ".".join(parts)
    return {moved(name): value for name, value in named.items()}


def load_network(model, named, have):
    want = len(model.layers)
    missing, unexpected = model.load_state_dict(grown(named, have, want), strict=False)
    assert not unexpected, unexpected
    for name in missing:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            torch.nn.init.zeros_(model.get_parameter(name))


def loss_of(model, t, read_weight, device):
    hidden = forward(model, t, device)
    targets, kinds = t["ids"][:, 1:], t["kinds"][:, 1:]
    # The first token of a branch or behind one does not follow the token before it in memory.
    follows = (t["branches"][:, 1:] == t["branches"][:, :-1]) & (t["branches"][:, 1:] != 255)
    weight = torch.where(kinds > 0, 1.0, read_weight) * follows
    chosen = weight > 0
    logits = model.logits(hidden[:, :-1][chosen])
    losses = F.cross_entropy(logits, targets[chosen], reduction="none")
    return (losses * weight[chosen]).sum() / weight.sum()


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    encoder = Encoder(args.tokenizer)
    config = config_of(SIZES[args.size], encoder.size, encoder.eos)
    if args.layers is not None:
        config["num_hidden_layers"] = args.layers
    model = Network(config).to(args.device)
    average = Network(config).to(args.device)
    average.load_state_dict(model.state_dict())
    optimizer = Optimizer(model)
    rate = args.rate or RATES[args.size]
    runs, tune = Runs(args.runs), Runs(args.tune)
    drills = Runs(args.drills) if args.drills else None
    seen, step, spent = 0, 0, 0.0
    state_file = out / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, map_location=args.device, weights_only=True)
        have, want = state["config"]["num_hidden_layers"], config["num_hidden_layers"]
        load_network(model, state["model"], have)
        load_network(average, state["average"], have)
        optimizer.load({k: grown(v, have, want) if isinstance(v, dict) else v for k, v in state["optimizer"].items()})
        seen, step, spent = state["seen"], state["step"], state["seconds"]
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{args.size}: {parameters} parameters, {len(runs.lengths)} runs, at {seen / 1e6:.2f}M tokens", flush=True)

    stop = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.append(True))
    started = saved = time.monotonic()
    evaluated = time.process_time()
    sums = [0.0, 0]

    def save():
        state = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state(), "seen": seen, "step": step,
                 "seconds": spent + time.monotonic() - started, "config": config}
        torch.save(state, out / "state.tmp")
        (out / "state.tmp").replace(state_file)

    while seen < args.tokens and not stop:
        # The same batches wherever a run was interrupted: each step has its own stream.
        random = np.random.default_rng([args.seed, step])
        limit = 320 + max(0, seen - 0.4e6) / args.short * 1400
        share = args.drill_share * max(0.1, 1 - seen / args.drill_until)
        source = drills if drills is not None and random.random() < share else runs
        pool = np.flatnonzero(source.lengths <= max(320, limit))
        # Neighbours in length, so that little is padded.
        some = random.choice(pool, 256)
        some = some[np.argsort(source.lengths[some], kind="stable")]
        at = int(random.integers(0, 256))
        chosen = [some[at]]
        while at + len(chosen) < 256 and (len(chosen) + 1) * source.lengths[some[at + len(chosen)]] <= args.batch:
            chosen.append(some[at + len(chosen)])
        t = tensors(source.batch(chosen), args.device)
        loss = loss_of(model, t, args.read_weight if seen < args.read_until else 0.0, args.device)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizer.others, 1.0)
        warm = min(1.0, (step + 1) / 50)
        fall = min(1.0, 0.1 + 0.9 * (args.tokens - seen) / args.decay) if args.decay > 0 else 1.0
        optimizer.step(rate * warm * fall)
        model.zero_grad(set_to_none=True)
        keep = min(0.995, step / (step + 20))
        with torch.no_grad():
            for a, p in zip(average.parameters(), model.parameters()):
                a.lerp_(p, 1 - keep)
        seen += int(sum(source.lengths[i] for i in chosen))
        step += 1
        sums = [sums[0] + loss.item(), sums[1] + 1]
        if step % 20 == 0:
            speed = seen / (spent + time.monotonic() - started)
            print(f"{step} {seen / 1e6:.3f}M loss {sums[0] / sums[1]:.4f} {speed:.0f} tok/s limit {limit:.0f}", flush=True)
            sums = [0.0, 0]
        done = seen >= args.tokens or bool(stop)
        if done or time.monotonic() - saved > 300:
            save()
            saved = time.monotonic()
        if (done and not stop) or time.process_time() - evaluated > args.every:
            row = {"size": args.size, "layers": config["num_hidden_layers"], "tokens": seen, "step": step,
                   "seconds": round(spent + time.monotonic() - started), "processor_seconds": round(time.process_time()),
                   **evaluate(average, tune, min(args.tune_runs, len(tune.lengths)), encoder, args.device)}
            with open(out / "log.jsonl", "a") as log:
                log.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
            evaluated = time.process_time()
    save()


if __name__ == "__main__":
    main()
