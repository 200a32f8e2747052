#!/usr/bin/env python3
"""Makes the tiny random checkpoints of this folder, one for each family and option that we support.

Each folder gets config.json, weights and golden.safetensors (input_ids [T], logits [T, vocabulary],
float32, eager attention): what transformers computes and the reference model must equal. Weights are
random, scaled so that every part of a block moves the logits. Run it only to add a model; what is
committed was made with transformers 5.17 and torch 2.11.

    python make.py [NAME...]
"""

import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

FOLDER = pathlib.Path(__file__).parent
VOCABULARY = 96
TOKENS = 40

LLAMA = dict(model_type="llama", hidden_size=48, intermediate_size=80, num_hidden_layers=2,
             num_attention_heads=4, vocab_size=VOCABULARY, max_position_embeddings=64,
             rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
OPT = dict(model_type="opt", hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4,
           vocab_size=VOCABULARY, max_position_embeddings=64, word_embed_proj_dim=32)

# name -> (config, stored dtype, bytes of a shard or None)
MODELS = {
    "llama2": (dict(LLAMA), torch.bfloat16, None),
    "llama2-biases": (dict(LLAMA, attention_bias=True, mlp_bias=True, num_key_value_heads=1),
                      torch.bfloat16, None),
    "llama31-rope": (dict(LLAMA, num_key_value_heads=2, tie_word_embeddings=True, rope_theta=500.0,
                          rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                            high_freq_factor=4.0,
                                            original_max_position_embeddings=32)),
                     torch.bfloat16, None),
    "llama-linear-rope": (dict(LLAMA, rope_theta=10000.0,
                               rope_scaling=dict(rope_type="linear", factor=4.0)),
                          torch.float16, None),
    "mistral-window": (dict(LLAMA, model_type="mistral", num_key_value_heads=2, sliding_window=7),
                       torch.bfloat16, None),
    "qwen2": (dict(LLAMA, model_type="qwen2", num_key_value_heads=2, use_sliding_window=False),
              torch.bfloat16, None),
    "qwen3": (dict(LLAMA, model_type="qwen3", hidden_size=32, intermediate_size=48,
                   num_key_value_heads=2, head_dim=16,
                   use_sliding_window=False, tie_word_embeddings=True), torch.float32, None),
    "opt": (dict(OPT), torch.float16, None),
    "opt-sharded": (dict(OPT, tie_word_embeddings=False), torch.float32, 40_000),
}


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Weights of a spread where attention is neither flat nor one-hot; norms around 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            parameter.data = 1.0 + 0.2 * noise
        elif name.endswith("bias"):
            parameter.data = 0.2 * noise
        elif "embed" in name:
            parameter.data = 0.5 * noise
        else:
            parameter.data = noise * (1.5 / parameter.shape[-1] ** 0.5)


def make(name: str) -> None:
    settings, dtype, shard_bytes = MODELS[name]
    settings = dict(settings)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    seed = sorted(MODELS).index(name) + 1
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    randomize(model, seed)
    target = FOLDER / name
    shutil.rmtree(target, ignore_errors=True)
    options = {"max_shard_size": shard_bytes} if shard_bytes else {}
    model.to(dtype).save_pretrained(target, **options)
    (target / "generation_config.json").unlink(missing_ok=True)

    stored = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32,
                                                  attn_implementation="eager").eval()
    ids = torch.randint(3, VOCABULARY, (1, TOKENS), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = stored(ids).logits[0].contiguous()
    save_file({"input_ids": ids[0].contiguous(), "logits": logits}, target / "golden.safetensors")
    if name in ("llama2", "mistral-window"):
        write_old_style(target / "config.json")
    for file in target.iterdir():
        file.chmod(0o644)
    size = sum(file.stat().st_size for file in target.iterdir())
    print(f"{name}: {size} bytes, logits of spread {logits.std().item():.2f}")
    assert size < 150_000


def write_old_style(path: pathlib.Path) -> None:
    """The keys as transformers 4 wrote them, which most published checkpoints have."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope["rope_theta"]
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or MODELS:
        make(wanted)
