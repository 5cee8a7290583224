#!/usr/bin/env python3
"""Makes what learning is held against: `gradients.safetensors` in two of the folders beside it, and `curve.json`, the losses of 300 steps.

    learning.py DIR ORACLE      DIR holds the folders of make.py, ORACLE is the script that writes a Llama's gradients

Needs torch, transformers, safetensors. The lists of tokens and the batches are those of `learning.rs`, made by the same generator."""
import json, os, subprocess, sys, tempfile
import torch
from transformers import LlamaForCausalLM

VOCABULARY, STEPS, LISTS, LENGTH = 160, 300, 4, 48


class Numbers:
    """Knuth's linear congruential generator, its upper 31 bits."""
    def __init__(self, seed):
        self.state = seed

    def next(self, below):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % below

    def tokens(self, count):
        """Three times of four, a token follows from the one before."""
        tokens = [self.next(VOCABULARY)]
        while len(tokens) < count:
            other = self.next(VOCABULARY)
            tokens.append((tokens[-1] * 7 + 3) % VOCABULARY if self.next(4) else other)
        return tokens


def gradients(folder, oracle):
    numbers = Numbers(1)
    lists = [numbers.tokens(count) for count in (14, 2, 150, 70)]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(lists, file)
        file.flush()
        subprocess.run([sys.executable, oracle, folder, file.name, os.path.join(folder, "gradients.safetensors")], check=True)


def curve(folder, precision):
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    matrices, norms = ([p for p in model.parameters() if (p.dim() > 1) == matrix] for matrix in (True, False))
    groups = [dict(params=matrices, weight_decay=0.01), dict(params=norms, weight_decay=0.0)]
    optimiser = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.98), eps=1e-8)
    numbers, losses = Numbers(2), []
    for _ in range(STEPS):
        ids = torch.tensor([numbers.tokens(LENGTH) for _ in range(LISTS)])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(round(loss.item(), 5))
    return losses


if __name__ == "__main__":
    folder, oracle = sys.argv[1:]
    for name in ("sharded", "linear"):
        gradients(os.path.join(folder, name), oracle)
    with open(os.path.join(folder, "curve.json"), "w") as file:
        json.dump({precision: curve(os.path.join(folder, "sharded"), precision) for precision in ("f32", "bf16")}, file, separators=(",", ":"))
        file.write("\n")
