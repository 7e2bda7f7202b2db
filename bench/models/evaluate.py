#!/usr/bin/env python3
"""How well a checkpoint writes recorded runs when everything before each token is right, and how far its verdicts can be believed.

    python evaluate.py DIR/state.pt runs.npz tokenizer/ [--count 400]

A run counts when each of its turns is right to the token: what greedy decoding would have written, so the share of such runs is a lower
bound for the accuracy of real runs (rollout.ts), which may also arrive on other ways.
"""
import argparse
import json

import numpy as np
import torch
from torch.nn import functional as F

from data import KINDS, Encoder, Runs
from network import Network


def tensors(batch, device):
    t = {k: torch.from_numpy(v).to(device) for k, v in batch.items()}
    b = t["branches"]
    length = b.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    t["mask"] = ((b[:, None, :] == 0) | (b[:, None, :] == b[:, :, None])).logical_and(causal)[:, None]
    return t


def forward(model, t, device):
    if device == "cpu":
        return model(t["ids"], t["positions"], t["mask"])
    with torch.autocast(device, torch.bfloat16):
        return model(t["ids"], t["positions"], t["mask"]).float()


@torch.no_grad()
def evaluate(model, runs, count, encoder, device="cpu"):
    """Accuracy per kind of token, of whole turns and of whole runs; calibration of the verdict."""
    right, seen = np.zeros(len(KINDS)), np.zeros(len(KINDS))
    turns, whole, verdicts, loss = [], [], [], []
    yes, no = encoder.encode(" TRUE ", True)[0], encoder.encode(" FALSE ", True)[0]
    order = np.argsort(runs.lengths[:count], kind="stable")
    for at in range(0, count, 4):
        indices = order[at : at + 4]
        t = tensors(runs.batch(indices), device)
        logits = model.logits(forward(model, t, device)[:, :-1])
        targets, kinds, turn = t["ids"][:, 1:], t["kinds"][:, 1:], t["turns"][:, 1:]
        hit = logits.argmax(-1) == targets
        chosen = kinds > 0
        loss.append(F.cross_entropy(logits[chosen], targets[chosen]).item())
        for k in range(len(KINDS)):
            where = (kinds == k) & (t["branches"][:, 1:] != 255)
            right[k] += (hit & where).sum().item()
            seen[k] += where.sum().item()
        for row, index in enumerate(indices):
            good = [bool(hit[row][turn[row] == n].all()) for n in turn[row].unique() if n > 0]
            turns += good
            whole.append((int(runs.hops[index]), all(good)))
        where = kinds == KINDS.index("verdict")
        if where.any():
            odds = logits[where][:, [yes, no]].softmax(-1)[:, 0]
            verdicts += list(zip(odds.tolist(), (targets[where] == yes).tolist()))
    result = {"loss": float(np.mean(loss)), "turn": float(np.mean(turns)), "run": float(np.mean([w for _, w in whole]))}
    result["run_by_hops"] = {str(h): float(np.mean([w for g, w in whole if g == h])) for h in sorted({g for g, _ in whole})}
    result |= {k: float(right[i] / seen[i]) for i, k in enumerate(KINDS) if seen[i] > 0}
    return result | calibration(verdicts)


def calibration(verdicts):
    """Brier score beside that of always saying the base rate, expected calibration error over ten bins, area under the ROC curve."""
    if not verdicts:
        return {}
    p, y = np.array([v[0] for v in verdicts]), np.array([v[1] for v in verdicts], float)
    bins = np.minimum((p * 10).astype(int), 9)
    error = sum(abs(p[bins == b].mean() - y[bins == b].mean()) * (bins == b).mean() for b in range(10) if (bins == b).any())
    order = p.argsort()
    ranks = np.empty(len(p))
    ranks[order] = np.arange(1, len(p) + 1)
    ones = y.sum()
    area = (ranks[y == 1].sum() - ones * (ones + 1) / 2) / max(1.0, ones * (len(y) - ones))
    return {"verdicts": len(y), "true": float(y.mean()), "brier": float(((p - y) ** 2).mean()), "brier_base": float(y.mean() * (1 - y.mean())),
            "calibration_error": float(error), "auc": float(area)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("state")
    parser.add_argument("runs")
    parser.add_argument("tokenizer")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    state = torch.load(args.state, map_location="cpu", weights_only=True)
    model = Network(state["config"])
    model.load_state_dict(state["average"])
    runs = Runs(args.runs)
    print(json.dumps({"tokens": state["seen"], **evaluate(model, runs, min(args.count, len(runs.lengths)), Encoder(args.tokenizer))}))


if __name__ == "__main__":
    main()
