#!/usr/bin/env python3
"""A checkpoint of twice the width that computes what a given one does: the large model goes on from what the small one has learnt.

    python grow.py small/state.pt large/state.pt

Every neuron is there twice, and what reads it reads half of each: W/2 + n and W/2 - n with small noise n, so that the two can part. Heads and KV
heads double too, at the same size. The optimizer begins anew.
"""
import sys

import torch

NOISE = 0.2  # of the root mean square of W/2


def halves(weight, generator):
    half = weight / 2
    noise = torch.randn(half.shape, generator=generator) * NOISE * half.pow(2).mean().sqrt()
    return torch.cat((half + noise, half - noise), 1)


def grown(name, value, generator):
    if name.startswith("embed"):
        return torch.cat((value, value), 1)
    if value.ndim == 2:
        value = halves(value, generator)
    doubled = torch.cat((value, value), 0)
    # The tied output layer adds both halves up.
    return doubled / 2 if name == "norm.weight" else doubled


def main(source, out):
    state = torch.load(source, map_location="cpu", weights_only=True)
    generator = torch.Generator().manual_seed(1)
    # From the average, which is the better one.
    model = {name: grown(name, value, generator) for name, value in state["average"].items()}
    config = dict(state["config"])
    for key in ("hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size"):
        config[key] *= 2
    optimizer = {"steps": 0, "momentum": {}, "first": {}, "second": {}}
    torch.save({**state, "model": model, "average": model, "optimizer": optimizer, "config": config, "grown": state["seen"]}, out)


if __name__ == "__main__":
    main(*sys.argv[1:3])
