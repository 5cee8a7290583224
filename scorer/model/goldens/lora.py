#!/usr/bin/env python3
"""Makes what LoRA is held against: `lora.safetensors` in two of the folders beside it, by peft itself.

    lora.py DIR                 DIR holds the folders of make.py

The file holds the adapters under peft's names, both matrices at random so that each has a gradient; behind `grad.` and the same names the gradients
of the mean next-token loss over four lists; and that `loss`. Needs torch, transformers, peft. The lists are those of `learning.py`."""
import os, sys
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from learning import Numbers

TARGETS = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split()


def adapted(folder):
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    settings = LoraConfig(r=16, lora_alpha=24, lora_dropout=0.0, target_modules=TARGETS, bias="none", task_type="CAUSAL_LM")
    model = get_peft_model(model, settings).train()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.empty(parameter.shape).normal_(0, 0.05, generator=generator))
    return model


def loss(model, lists):
    """The mean over all next tokens of all lists."""
    sums, count = 0, 0
    for ids in lists:
        ids = torch.tensor([ids])
        logits = model(input_ids=ids, use_cache=False).logits[0].float()
        sums = sums + torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="sum")
        count += ids.shape[1] - 1
    return sums / count


def golden(folder):
    numbers = Numbers(1)
    lists = [numbers.tokens(count) for count in (14, 2, 150, 70)]
    model = adapted(folder)
    tensors = {name: value.detach().clone() for name, value in get_peft_model_state_dict(model).items()}
    value = loss(model, lists)
    value.backward()
    tensors["loss"] = value.detach().reshape(1)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == ("lora_" in name), name
        if parameter.grad is not None:
            tensors["grad." + name.replace(".default", "")] = parameter.grad.clone()
    save_file(tensors, os.path.join(folder, "lora.safetensors"))


if __name__ == "__main__":
    for name in ("sharded", "linear"):
        golden(os.path.join(sys.argv[1], name))
