#!/usr/bin/env python3
"""Makes the goldens beside it, or the expectations of a real model: what loads here must give what others give.

    make.py small DIR                random Llamas of some 30,000 numbers, as folders and as GGUF, with logits of transformers
    make.py real GGUF TEXTS OUT      tokens, logits and mean cross-entropy of a real GGUF, read by transformers, in float32

Needs torch, transformers, gguf, sentencepiece, safetensors. Rows of query and key are put into llama.cpp's order by the formula of its
converter; quantised weights are given to transformers widened, so that its logits are those of the file."""
import copy, json, os, sys
import gguf, numpy as np, sentencepiece, tokenizers, torch
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

NOTE = "Patient 47 admitted with chest pain.\nHistory of gout and asthma; walks with help."
QUESTION = "\n\nGiven the above admission note of the patient, will the patient die during the hospital admission?\nA. no\nB. yes\nAnswer:"
TEXTS = [NOTE, NOTE + QUESTION, "  two spaces, 12345 and\n\n\nbreaks", "odd ~!@#$%^&*()_+{}|:<>? signs", "a"]
BLOCKS = "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K".split()


def lively(model, seed):
    """Weights large enough that every part bends."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.empty(parameter.shape).normal_(0, 0.25, generator=generator)
            parameter.copy_(noise if parameter.dim() > 1 else 1 + noise)
    return model.eval()


def save(model, dtype, folder, **options):
    """Saves the model in a type, and leaves it with the numbers that were saved; its rotary frequencies stay as exact as they were."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(dtype).float())
    copy.deepcopy(model).to(dtype).save_pretrained(folder, **options)


def expected(model, ids):
    """Logits behind the last token, and the mean cross-entropy of all tokens but the first."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()
    loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])).item()
    return {"tokens": ids, "logits": [round(x, 6) for x in logits[-1].tolist()], "cross_entropy": loss}


def write_json(path, value):
    with open(path, "w") as file:
        json.dump(value, file, separators=(",", ":"))
        file.write("\n")


def byte_level(vocabulary):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = [chr(c) for c in range(33, 127)] + ["\u0120", "\u010a"]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator([f"Answer: {letter}" for letter in "ABCDE"] * 50 + [NOTE + QUESTION] * 5, trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


def sentencepiece_model(folder, vocabulary):
    corpus = os.path.join(folder, "corpus.txt")
    with open(corpus, "w") as file:
        file.write("\n".join([f"Answer: {letter}" for letter in "ABCDE"] * 50 + (NOTE + QUESTION).split("\n") * 20))
        file.write("\n" + "\n".join(" ".join(map(chr, range(33, 127))) for _ in range(3)))
    prefix = os.path.join(folder, "tokenizer")
    sentencepiece.SentencePieceTrainer.train(input=corpus, model_prefix=prefix, vocab_size=vocabulary, model_type="bpe", byte_fallback=True, split_digits=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True, character_coverage=1.0, minloglevel=2)
    os.remove(corpus), os.remove(prefix + ".vocab")
    return sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")


def permuted(rows, heads):
    """llama.cpp's order of the rows of a head: convert_hf_to_gguf.py, LlamaModel.permute."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    parts = name.removesuffix(".weight").split(".")
    return f"blk.{parts[2]}.{NAMES['.'.join(parts[3:])]}.weight" if "layers" in parts else NAMES[".".join(parts)] + ".weight"


def gguf_bytes(values, kind):
    if kind in ("F32", "F16"):
        return values.astype({"F32": np.float32, "F16": np.float16}[kind]), None
    return quantize(values, gguf.GGMLQuantizationType[kind]), gguf.GGMLQuantizationType[kind]


def write_gguf(path, model, kinds, vocabulary):
    """Writes the model, each matrix in the next of `kinds`, and leaves it with the numbers that the file holds."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers), writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size), writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads), writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim), writer.add_value_length(config.head_dim), writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps), writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    vocabulary(writer)
    if config.rope_parameters["rope_type"] == "llama3":
        plain = 1.0 / config.rope_parameters["rope_theta"] ** (np.arange(0, config.head_dim, 2, dtype=np.float32) / config.head_dim)
        writer.add_tensor("rope_freqs.weight", (plain / model.model.rotary_emb.inv_freq.numpy()).astype(np.float32))
    for index, (name, parameter) in enumerate(model.named_parameters()):
        values = parameter.detach().numpy()
        kind = kinds[index % len(kinds)] if values.ndim > 1 else "F32"
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        stored, raw = gguf_bytes(permuted(values, heads) if heads else values, kind)
        writer.add_tensor(gguf_name(name), stored, raw_dtype=raw)
        straight, raw = gguf_bytes(values, kind)
        widened = dequantize(straight, raw) if raw is not None else straight.astype(np.float32)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.array(widened)))
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()


def gpt2_vocabulary(tokenizer):
    said = json.loads(tokenizer.to_str())["model"]

    def add(writer):
        tokens = sorted(said["vocab"], key=said["vocab"].get)
        writer.add_tokenizer_model("gpt2"), writer.add_tokenizer_pre("gpt-2"), writer.add_token_list(tokens)
        writer.add_token_types([3 if token in ("<s>", "</s>") else 1 for token in tokens])
        writer.add_token_merges([" ".join(pair) for pair in said["merges"]])
        writer.add_bos_token_id(0), writer.add_eos_token_id(1), writer.add_add_bos_token(True)
    return add


def llama_vocabulary(pieces):
    def add(writer):
        count = range(pieces.get_piece_size())
        kind = lambda i: 2 if pieces.is_unknown(i) else 3 if pieces.is_control(i) else 6 if pieces.is_byte(i) else 1
        writer.add_tokenizer_model("llama"), writer.add_tokenizer_pre("default"), writer.add_token_list([pieces.id_to_piece(i) for i in count])
        writer.add_token_scores([pieces.get_score(i) for i in count]), writer.add_token_types([kind(i) for i in count])
        writer.add_bos_token_id(1), writer.add_eos_token_id(2), writer.add_add_bos_token(True)
    return add


def random_blocks(folder):
    """One row of each kind: bytes at random but for the scales, and what the gguf package widens them to."""
    random, tensors = np.random.default_rng(7), {}
    for name in BLOCKS:
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        rows = random.integers(0, 256, (512 // block, size), dtype=np.uint8)
        scales = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "Q4_1": (0, 2), "Q5_1": (0, 2)}.get(name, (0,))
        for at in scales:
            rows[:, at:at + 2] = random.normal(0, 0.1, len(rows)).astype(np.float16).view(np.uint8).reshape(-1, 2)
        tensors[f"{name}.bytes"] = rows.reshape(1, -1)
        tensors[f"{name}.numbers"] = dequantize(rows.reshape(1, -1), kind)
    save_file(tensors, os.path.join(folder, "blocks.safetensors"))


def small(folder):
    random_blocks(folder)
    tokenizer = byte_level(160)
    ids = [tokenizer.encode(text).ids for text in TEXTS]
    shape = dict(vocab_size=160, hidden_size=32, intermediate_size=32, max_position_embeddings=512, rms_norm_eps=1e-5, bos_token_id=0, eos_token_id=1)
    llama3 = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
    model = lively(LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16, rope_parameters=llama3)), 1)
    sharded = os.path.join(folder, "sharded")
    save(model, torch.bfloat16, sharded, max_shard_size="30KB")
    tokenizer.save(os.path.join(sharded, "tokenizer.json"))
    write_json(os.path.join(sharded, "expected.json"), {"texts": TEXTS, "ids": ids, "passes": [expected(model, ids[1]), expected(model, ids[0])]})
    write_gguf(os.path.join(folder, "byte-level.gguf"), model, ["F16", "Q8_0", "Q4_0", "Q4_1"], gpt2_vocabulary(tokenizer))
    write_json(os.path.join(folder, "byte-level.json"), {"texts": TEXTS, "ids": ids, "passes": [expected(model, ids[1]), expected(model, ids[0])]})

    linear = os.path.join(folder, "linear")
    rope = dict(rope_type="linear", rope_theta=20000.0, factor=2.0)
    model = lively(LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=1, num_attention_heads=4, rope_parameters=rope, tie_word_embeddings=True)), 2)
    save(model, torch.float16, linear)
    tokenizer.save(os.path.join(linear, "tokenizer.json"))
    # As transformers 4 wrote it.
    said = json.load(open(os.path.join(linear, "config.json")))
    said.pop("rope_parameters"), said.pop("dtype", None), said.pop("head_dim", None)
    said.update(rope_theta=20000.0, rope_scaling={"type": "linear", "factor": 2.0}, torch_dtype="float16", sliding_window=None)
    json.dump(said, open(os.path.join(linear, "config.json"), "w"), indent=2)
    write_json(os.path.join(linear, "expected.json"), {"texts": TEXTS, "ids": ids, "passes": [expected(model, ids[1])]})

    pieces = sentencepiece_model(folder, 420)
    ids = [[1] + pieces.encode(text) for text in TEXTS]
    plain = dict(rope_type="default", rope_theta=10000.0)
    model = lively(LlamaForCausalLM(LlamaConfig(**{**shape, "vocab_size": 420, "bos_token_id": 1, "eos_token_id": 2}, num_hidden_layers=1, num_attention_heads=2,
                                                num_key_value_heads=1, head_dim=16, rope_parameters=plain, tie_word_embeddings=True)), 3)
    write_gguf(os.path.join(folder, "sentencepiece.gguf"), model, ["BF16", "Q4_1", "Q8_0"], llama_vocabulary(pieces))
    write_json(os.path.join(folder, "sentencepiece.json"), {"texts": TEXTS, "ids": ids, "passes": [expected(model, ids[1])]})
    for made in ("generation_config.json",):
        for place in (sharded, linear):
            path = os.path.join(place, made)
            os.path.exists(path) and os.remove(path)


def real(file, texts, out):
    folder, name = os.path.split(os.path.abspath(file))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    if gguf.GGUFReader(file).fields["tokenizer.ggml.pre"].contents() == "smollm":
        # transformers takes every GGUF of this kind for GPT-2's; SmolLM's own tokenizer.json takes the digits apart first.
        digits, words = tokenizers.pre_tokenizers.Digits(individual_digits=True), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.backend_tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([digits, words])
    texts = json.load(open(texts))
    ids = [tokenizer(text)["input_ids"] for text in texts]
    write_json(out, {"texts": texts, "ids": ids, "passes": [expected(model, each) for each in ids]})


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["small", folder]:
            small(folder)
        case ["real", file, texts, out]:
            real(file, texts, out)
        case _:
            sys.exit(__doc__)
