"""One peer in a process of its own, for `peers.py`: the model it reads, and what one turn of a case is.

Weights are random, for a product takes as long whatever it multiplies; each engine has the same shape and reads the same tokens.

    engines.py prepare ENGINE SHAPE MODELS               makes the file that the engine reads, where it needs one and it is not there
    engines.py measure ENGINE SHAPE CASE THREADS MODELS  says `{"version"}`, then one line of times for each line of stdin

A turn is one run untold and one told, as ours is.
"""
import json
import os
import pathlib
import random
import shutil
import sys
import time

# Those of `src/bench/shape.rs` under the same names: heads are queries, keys and values.
SHAPES = {
    "llama-110m": dict(hidden=768, layers=12, heads=(12, 12), feed=2048, vocabulary=32_000, tied=True),
    "lang1-100m": dict(hidden=768, layers=6, heads=(24, 8), feed=3072, vocabulary=32_000, tied=False),
    "smollm2-135m": dict(hidden=576, layers=30, heads=(9, 3), feed=1536, vocabulary=49_152, tied=True),
}
CONTEXT = 4096
NOTE = 512
# Tokens of a question: random ones as ours are, those really asked by a tokenizer of ours, and the mean of those word by word (five are 202).
QUESTIONS = {"questions": 60, "tasks": 3, "words": 40}
LETTERS = "ABCDE"


def drawn(shape, count):
    return random.choices(range(SHAPES[shape]["vocabulary"]), k=count)


def lengths(case):
    """Tokens of each prompt of `8x512`, or of `8x512mixed`: from a quarter to all of them, as ours."""
    rows, tokens = map(int, case.removesuffix("mixed").split("x"))
    steps = max(1, rows - 1)
    return [tokens * (steps + 3 * row) // (4 * steps) if case.endswith("mixed") else tokens for row in range(rows)]


def asked(case):
    """Questions and their tokens of `questionsN`, `tasksN` and `wordsN`; of the first question there are 36 words."""
    name = case.rstrip("0123456789")
    count = int(case.removeprefix(name))
    return count, 36 if case == "words1" else QUESTIONS[name]


# PyTorch, and what the others are made of.


def llama(shape):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    sizes = SHAPES[shape]
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(
        hidden_size=sizes["hidden"], num_hidden_layers=sizes["layers"], num_attention_heads=sizes["heads"][0], num_key_value_heads=sizes["heads"][1],
        intermediate_size=sizes["feed"], vocab_size=sizes["vocabulary"], tie_word_embeddings=sizes["tied"], max_position_embeddings=CONTEXT, rms_norm_eps=1e-5,
        attn_implementation="sdpa"))


def padded(shape, case):
    """Tokens and mask, padded on the left so that the last position is each prompt's own."""
    import numpy
    counts = lengths(case)
    ids, mask = numpy.zeros((2, len(counts), max(counts)), dtype=numpy.int64)
    for row, count in enumerate(counts):
        ids[row, -count:], mask[row, -count:] = drawn(shape, count), 1
    return ids, mask


def behind_a_note(model, shape, case):
    """One question as a whole prompt; several behind a cache of the note, which is what one does by hand (transformers will rename `past_key_values` in 5.40)."""
    import torch
    count, length = asked(case)
    note, suffixes = torch.tensor([drawn(shape, NOTE)]), torch.tensor([drawn(shape, length) for _ in range(count)])
    if count == 1:
        whole = torch.cat([note, suffixes], 1)
        return lambda: model(input_ids=whole, logits_to_keep=1, use_cache=False).logits.float().sum().item()

    def cached():
        cache = model(input_ids=note, logits_to_keep=1, use_cache=True).past_key_values
        cache.batch_repeat_interleave(count)
        return model(input_ids=suffixes, past_key_values=cache, logits_to_keep=1).logits.float().sum().item()
    return cached


def step(model, shape, case, precision):
    """Forward, backward and AdamW: over all next tokens, or (`answer ROWSxTOKENS`) over the token behind each prompt."""
    import torch
    optimiser = torch.optim.AdamW(model.train().parameters(), lr=1e-4, fused=True)
    loss_of, batch = case.split()
    ids = torch.tensor([drawn(shape, count) for count in lengths(batch)])

    def loss():
        if loss_of == "full":
            return model(input_ids=ids, labels=ids, use_cache=False).loss
        logits = model(input_ids=ids[:, :-1], logits_to_keep=1, use_cache=False).logits[:, -1]
        return torch.nn.functional.cross_entropy(logits.float(), ids[:, -1])

    def run():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            value = loss()
        value.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return value.item()
    return run


def pytorch(how, shape, case, threads, _models):
    import torch
    torch.set_num_threads(threads)
    precision, compiled = how.removesuffix("-compiled"), how.endswith("-compiled")
    model = llama(shape)
    if " " in case:
        return torch.__version__, step(model, shape, case, precision)
    model = model.eval()
    if precision == "bf16":
        model = model.to(torch.bfloat16)
    if precision == "int8":
        model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    answering = torch.compile(model) if compiled else model
    if case.startswith(tuple(QUESTIONS)):
        turn = behind_a_note(answering, shape, case)
    else:
        ids, mask = map(torch.from_numpy, padded(shape, case))
        said = dict(attention_mask=mask) if case.endswith("mixed") else {}
        turn = lambda: answering(input_ids=ids, logits_to_keep=1, use_cache=False, **said).logits.float().sum().item()
    return torch.__version__, torch.inference_mode()(turn)


# ONNX Runtime: the same model exported with the head at the last position alone.


def export_onnx(shape, models):
    import torch
    whole, eighth = models / f"{shape}.onnx", models / f"{shape}-int8.onnx"
    if not whole.exists():
        class LastPosition(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = llama(shape).eval()
                # A head of its own even where it is tied: left tied it stays in `f32`, widened and turned round at each run.
                self.model.lm_head.weight = torch.nn.Parameter(self.model.lm_head.weight.detach().clone())

            def forward(self, ids, mask):
                return self.model(input_ids=ids, attention_mask=mask, logits_to_keep=1, use_cache=False).logits[:, -1]
        ids = torch.randint(0, 100, (2, 16))
        free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
        torch.onnx.export(LastPosition(), (ids, torch.ones_like(ids)), whole, dynamo=True, dynamic_shapes=(free, free), external_data=True,
                          input_names=["ids", "mask"], output_names=["logits"])
    if not eighth.exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic
        quantize_dynamic(whole, eighth, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])


def onnxruntime(precision, shape, case, threads, models):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    file = models / (f"{shape}.onnx" if precision == "f32" else f"{shape}-{precision}.onnx")
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    ids, mask = padded(shape, case)
    return ort.__version__, lambda: session.run(None, {"ids": ids, "mask": mask})


# CTranslate2: the Hugging Face folder by its own converter. One file of 8 bits serves: what it computes in is said when it is loaded.


def convert_ctranslate2(shape, models):
    from ctranslate2.converters import TransformersConverter
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast
    made, folder = models / f"{shape}-ct2", models / f"{shape}-hf"
    if made.exists():
        return
    llama(shape).save_pretrained(folder)
    words = {f"t{index}": index for index in range(SHAPES[shape]["vocabulary"])}
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, "t0")), unk_token="t0", bos_token="t1", eos_token="t2").save_pretrained(folder)
    TransformersConverter(str(folder)).convert(str(made), quantization="int8")
    shutil.rmtree(folder)


def ctranslate2(precision, shape, case, threads, models):
    """The prompts at once, of which the last position alone meets the head; unlike lengths would go token by token, so they go one by one."""
    import ctranslate2 as ct2
    generator = ct2.Generator(str(models / f"{shape}-ct2"), compute_type={"f32": "float32"}.get(precision, precision), intra_threads=threads, inter_threads=1)
    prompts = [[f"t{token}" for token in drawn(shape, count)] for count in lengths(case)]
    batches = [[prompt] for prompt in prompts] if case.endswith("mixed") else [prompts]

    def turn():
        for batch in batches:
            generator.generate_batch(batch, max_length=1, include_prompt_in_result=False)
    return f"{ct2.__version__} ({generator.compute_type})", turn


# llama.cpp: a GGUF file whose vocabulary is bytes, letters and fillers.


def write_gguf(shape, models):
    import gguf
    file, sizes = models / f"{shape}-q8_0" / "model.gguf", SHAPES[shape]
    if file.exists():
        return
    file.parent.mkdir(exist_ok=True)
    model = llama(shape)
    width = sizes["hidden"] // sizes["heads"][0]
    writer = gguf.GGUFWriter(file, "llama")
    # Ours cuts a note so that it and the longest question fill the context; llama.cpp is told its context when it loads.
    writer.add_context_length(NOTE), writer.add_block_count(sizes["layers"]), writer.add_embedding_length(sizes["hidden"])
    writer.add_feed_forward_length(sizes["feed"]), writer.add_head_count(sizes["heads"][0]), writer.add_head_count_kv(sizes["heads"][1])
    writer.add_layer_norm_rms_eps(1e-5), writer.add_rope_freq_base(10_000.0), writer.add_rope_dimension_count(width)
    letters = ["\u2581", *LETTERS, *("\u2581" + letter for letter in LETTERS)]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    kinds = [2, 3, 3] + [6] * 256 + [1] * len(letters)
    fillers = sizes["vocabulary"] - len(tokens)
    writer.add_tokenizer_model("llama"), writer.add_tokenizer_pre("default"), writer.add_token_list(tokens + [f"<filler {index}>" for index in range(fillers)])
    writer.add_token_scores([-float(index) for index in range(sizes["vocabulary"])]), writer.add_token_types(kinds + [5] * fillers)
    writer.add_bos_token_id(1), writer.add_eos_token_id(2), writer.add_add_bos_token(False)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, sizes["layers"])
    eighth = gguf.GGMLQuantizationType.Q8_0
    # The order of rows within a head is left as it is: among random numbers none is right.
    for name, parameter in model.named_parameters():
        values, stored = parameter.detach().numpy(), names.get_name(name, (".weight",))
        if values.ndim == 1:
            writer.add_tensor(stored, values)
        else:
            writer.add_tensor(stored, gguf.quants.quantize(values, eighth), raw_dtype=eighth)
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()


def llama_cpp(precision, shape, case, threads, models):
    """One prompt after another, each from an empty cache; the last position alone has logits."""
    import llama_cpp as cpp
    file = models / f"{shape}-{precision}" / "model.gguf"
    prompts = [drawn(shape, count) for count in lengths(case)]
    longest = max(map(len, prompts))
    model = cpp.Llama(str(file), n_ctx=longest, n_batch=longest, n_ubatch=512, n_threads=threads, n_threads_batch=threads, logits_all=False, verbose=False)

    def turn():
        for prompt in prompts:
            model.reset()
            model.eval(prompt)
    return cpp.__version__, turn


ENGINES = {"torch": (None, pytorch), "onnxruntime": (export_onnx, onnxruntime), "ctranslate2": (convert_ctranslate2, ctranslate2),
           "llama.cpp": (write_gguf, llama_cpp)}


def peak_rss_gb():
    line = next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1e6, 2)


def measure(engine, shape, case, threads, models):
    random.seed(2)
    name, _, how = engine.partition("-")
    # Engines may print; what we say goes where they cannot.
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    version, turn = ENGINES[name][1](how, shape, case, threads, models)
    print(json.dumps({"version": version, "rss_before_gb": peak_rss_gb()}), file=told, flush=True)
    for _ in sys.stdin:
        turn()
        began, before = time.perf_counter(), time.process_time()
        turn()
        taken = {"ms": 1e3 * (time.perf_counter() - began), "cpu_ms": 1e3 * (time.process_time() - before), "peak_rss_gb": peak_rss_gb()}
        print(json.dumps(taken), file=told, flush=True)


def prepare(engine, shape, models):
    models.mkdir(parents=True, exist_ok=True)
    if make := ENGINES[engine.partition("-")[0]][0]:
        make(shape, models)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["prepare", engine, shape, models]:
            prepare(engine, shape, pathlib.Path(models))
        case ["measure", engine, shape, what, threads, models]:
            measure(engine, shape, what, int(threads), pathlib.Path(models))
        case _:
            sys.exit(__doc__)
