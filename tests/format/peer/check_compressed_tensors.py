"""Loads a packed checkpoint of ours with transformers and compressed-tensors and compares.

    check_compressed_tensors.py PACKED_FOLDER REFERENCE.safetensors [--source FLOAT_FOLDER]
                                [--without-loading] [--bfloat16] [--inputs FILE]

REFERENCE holds decoded weights, float32, under their names in the float model, which must be
equal to the last bit. FILE, of a checkpoint that quantizes inputs, holds `inputs` of the first
linear with what they are quantized to, `quantized_inputs`, which must be equal to the last bit, and
`input_ids` with `logits` (float32, from our runtime). Without it, and with --source, the logits are
compared with those of the float model that holds these weights. With --without-loading the weights
alone are compared, decoded by compressed-tensors module by module: transformers 5.17 does not load
a packed embedding. With --bfloat16 all is done in that type, the reference weights rounded to it:
so the package decodes 4-bit floats, whatever the type asked for.
Exit status: 0 equal, 1 different, 77 packages missing (skipped).
"""

import argparse
import json
import pathlib
import sys

try:
    import compressed_tensors
    import torch
    import transformers
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM, CompressedTensorsConfig
except ImportError as error:
    print(f"skipped: {error}; needs torch, transformers, safetensors, compressed-tensors")
    sys.exit(77)

# Float32 sums in another order: the reference products and torch's differ by this at most.
LOGIT_TOLERANCE = 2e-3


def load_packed(folder, decoded, dtype):
    # In float32 the weights decode exactly, and products are compared without 16-bit noise. As it
    # comes the model keeps its linears packed and decodes them in each forward; `decoded` asks for
    # plain weights at loading, so that they can be looked at. Both must give the same values.
    options = {"dtype": dtype}
    if decoded:
        try:
            options["quantization_config"] = CompressedTensorsConfig(dequantize=True)
        except TypeError:  # transformers before 5
            options["quantization_config"] = CompressedTensorsConfig(run_compressed=False)
    return AutoModelForCausalLM.from_pretrained(folder, **options).eval()


def compare_weights(model, decoded):
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    different = 0
    for name, expected in sorted(decoded.items()):
        if name not in tensors:
            print(f"{name}: not in the loaded model")
            different += 1
        elif not torch.equal(tensors[name].float(), expected):
            worst = (tensors[name].float() - expected).abs().max().item()
            print(f"{name}: differs by up to {worst:g}")
            different += 1
    print(f"{len(decoded)} decoded weights compared, {different} differ")
    return different == 0


def decode_by_package(folder):
    # Parts of the package that move between its versions; the other checks do without them.
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    from compressed_tensors.utils.match import match_named_modules

    config = json.loads((folder / "config.json").read_text())
    quantization = QuantizationConfig.model_validate(config.pop("quantization_config"))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    stored = load_file(folder / "model.safetensors")
    for scheme in quantization.config_groups.values():
        for name, module in match_named_modules(model, scheme.targets, quantization.ignore):
            parts = {key.rsplit(".", 1)[1]: stored[key] for key in stored
                     if key.startswith(f"{name}.weight")}
            parts["weight_scale"] = parts["weight_scale"].float()
            compressor = BaseCompressor.get_value_from_registry(scheme.format)
            weight = compressor.decompress(parts, scheme)["weight"]
            module.weight = torch.nn.Parameter(weight, requires_grad=False)
    return model


@torch.no_grad()
def compare_logits(model, input_ids, expected, label):
    found = model(input_ids.reshape(-1, input_ids.shape[-1])).logits.float()
    worst = (found.flatten() - expected.float().flatten()).abs().max().item()
    print(f"logits against {label}: largest difference {worst:g}")
    return worst <= LOGIT_TOLERANCE


@torch.no_grad()
def compare_inputs(source, packed, decoded, ours):
    # All in float32: the float model with the decoded weights, each linear's input quantized by the
    # package. As transformers runs the packed model, 4-bit inputs are quantized in bfloat16.
    from compressed_tensors.quantization import QuantizationConfig, QuantizationStatus
    from compressed_tensors.quantization.lifecycle.forward import forward_quantize

    config = json.loads((packed / "config.json").read_text())["quantization_config"]
    (group,) = QuantizationConfig.model_validate(config).config_groups.values()
    stored = load_file(packed / "model.safetensors")
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    model.load_state_dict(decoded, strict=False)

    def quantized(linear, x):
        return forward_quantize(linear, x, "input", group.input_activations)

    for name in (name.removesuffix(".weight") for name in decoded):
        linear = model.get_submodule(name)
        linear.quantization_status = QuantizationStatus.COMPRESSED
        if f"{name}.input_global_scale" in stored:
            linear.input_global_scale = stored[f"{name}.input_global_scale"]
        linear.register_forward_pre_hook(lambda linear, x: (quantized(linear, x[0]),))
    first = model.get_submodule("model.layers.0.self_attn.q_proj")
    some = quantized(first, ours["inputs"][None])[0]
    equal = torch.equal(some, ours["quantized_inputs"])
    print(f"quantized inputs are {'equal' if equal else 'different'}")
    found = model(ours["input_ids"].long()[None]).logits[0]
    worst = (found - ours["logits"]).abs().amax(1)
    # Sums in another order may move a value across the middle between two codes, which shows in this
    # token and those after it: of FP8 with its many codes in some.
    share = (worst <= LOGIT_TOLERANCE).float().mean().item()
    print(f"logits of quantized inputs are equal in {share:.0%} of the tokens, "
          f"{worst.median().item():g} apart")
    return equal and share >= 0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packed", type=pathlib.Path)
    parser.add_argument("reference", type=pathlib.Path)
    parser.add_argument("--source", type=pathlib.Path)
    parser.add_argument("--without-loading", action="store_true")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--inputs", type=pathlib.Path)
    arguments = parser.parse_args()
    print(f"transformers {transformers.__version__}, compressed-tensors "
          f"{compressed_tensors.__version__}, torch {torch.__version__}")

    torch.manual_seed(0)
    reference = load_file(arguments.reference)
    dtype = torch.bfloat16 if arguments.bfloat16 else torch.float32
    if arguments.bfloat16:
        reference = {name: weight.bfloat16().float() for name, weight in reference.items()}
    if arguments.without_loading:
        sys.exit(0 if compare_weights(decode_by_package(arguments.packed), reference) else 1)
    equal = compare_weights(load_packed(arguments.packed, True, dtype), reference)
    model = load_packed(arguments.packed, False, dtype)
    if arguments.inputs is not None:
        model(torch.zeros(1, 4, dtype=torch.long))
        equal &= compare_inputs(arguments.source, arguments.packed,
                                load_file(arguments.reference), load_file(arguments.inputs))
    elif arguments.source is not None:
        source = AutoModelForCausalLM.from_pretrained(arguments.source, dtype=dtype).eval()
        missing = source.load_state_dict(reference, strict=False).unexpected_keys
        if missing:
            print(f"not in the source model: {missing}")
            equal = False
        vocabulary = json.loads((arguments.packed / "config.json").read_text())["vocab_size"]
        some_ids = torch.randint(0, vocabulary, (2, 48))
        with torch.no_grad():
            expected = source(some_ids).logits
        equal &= compare_logits(model, some_ids, expected, "the float model with decoded weights")
    sys.exit(0 if equal else 1)


main()
