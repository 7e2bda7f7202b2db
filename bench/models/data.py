"""Runs as exported by export.ts -> token arrays, kept in one .npz; and batches of them."""
import json
import pathlib
import re
import sys

import numpy as np
import sentencepiece as spm

KINDS = ["read", "think", "call", "answer", "reason", "verdict", "memory", "end"]
MARKER = re.compile(r"(\[unused\d+\]|<s>)")


class Encoder:
    def __init__(self, folder):
        self.processor = spm.SentencePieceProcessor(model_file=str(pathlib.Path(folder) / "tokenizer.model"))
        config = json.loads((pathlib.Path(folder) / "tokenizer_config.json").read_text())
        self.markers = {t["content"]: int(i) for i, t in config["added_tokens_decoder"].items()}
        self.eos = self.markers[config["eos_token"]]
        self.size = self.processor.vocab_size()

    def encode(self, text, special):
        if not special:
            return self.processor.encode(text)
        ids = []
        for part in MARKER.split(text):
            if part in self.markers:
                ids.append(self.markers[part])
            elif part:
                ids.extend(self.processor.encode(part))
        return ids


def convert(runs, folder, out):
    """ids, kind, branch and position of every token, run after run; `starts` has where each begins. A turn's tokens share a number in
    `turn`; 0 where nothing is learnt."""
    encoder = Encoder(folder)
    ids, kinds, branches, positions, turns, starts, hops = [], [], [], [], [], [0], []
    for line in open(runs):
        run = json.loads(line)
        main, fork, current, turn = 0, 0, 0, 0
        for text, special, kind, branch in run["pieces"]:
            tokens = encoder.encode(text, special)
            if branch != current:
                fork = main if branch else fork
                current = branch
            if kind == 1:
                turn += 1
            for token in tokens:
                ids.append(token)
                kinds.append(kind)
                branches.append(branch)
                turns.append(turn if kind in (1, 2, 3) or (kind == 7 and branch == 0) else 0)
                positions.append(fork if branch else main)
                fork += 1 if branch else 0
                main += 0 if branch else 1
        starts.append(len(ids))
        hops.append(run["hops"])
    np.savez(out, ids=np.array(ids, np.uint16), kinds=np.array(kinds, np.uint8), branches=np.array(branches, np.uint8),
             positions=np.array(positions, np.uint16), turns=np.array(turns, np.uint8), starts=np.array(starts, np.int64),
             hops=np.array(hops, np.uint8))
    print(f"{out}: {len(hops)} runs, {len(ids)} tokens, {np.mean(np.array(kinds) > 0):.3f} of them learnt")


class Runs:
    def __init__(self, file):
        self.arrays = dict(np.load(file))
        self.starts = self.arrays["starts"]
        self.lengths = np.diff(self.starts)
        self.hops = self.arrays["hops"]

    def batch(self, indices):
        """Right-padded arrays [rows, length]; branch 255: padding."""
        length = int(-(-max(self.lengths[i] for i in indices) // 16) * 16)
        shape = (len(indices), length)
        out = {k: np.zeros(shape, np.int64) for k in ("ids", "kinds", "branches", "positions", "turns")}
        out["branches"][:] = 255
        for row, i in enumerate(indices):
            span = slice(self.starts[i], self.starts[i + 1])
            for name, array in out.items():
                array[row, : self.lengths[i]] = self.arrays[name][span]
        return out


if __name__ == "__main__":
    convert(*sys.argv[1:4])
