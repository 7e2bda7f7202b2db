#!/usr/bin/env python3
"""A training checkpoint as a model folder: bf16 safetensors, config.json, generation_config.json and the tokenizer's files.

    python export_model.py DIR/state.pt tokenizer/ OUT
"""
import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file


def main(state_file, tokenizer, out):
    state = torch.load(state_file, map_location="cpu", weights_only=True)
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": value.to(torch.bfloat16).contiguous() for name, value in state["average"].items()}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt", "tokens": str(state["seen"])})
    config = state["config"]
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    generation = {"bos_token_id": config["bos_token_id"], "eos_token_id": config["eos_token_id"], "pad_token_id": config["pad_token_id"]}
    (out / "generation_config.json").write_text(json.dumps({"do_sample": False, **generation}, indent=1) + "\n")
    for name in ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(pathlib.Path(tokenizer) / name, out / name)
    print(f"{out}: {sum(t.numel() for t in tensors.values())} parameters after {state['seen']} tokens")


if __name__ == "__main__":
    main(*sys.argv[1:4])
