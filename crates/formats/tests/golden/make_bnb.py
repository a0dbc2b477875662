"""Makes bnb.safetensors beside it: what bitsandbytes makes of small matrices, and what it reads back.

Versions: Python 3.11, torch 2.15.0, bitsandbytes 0.50.2 (its CPU library, AVX-512), safetensors 0.8.0. Seed 20261125.
Run in this folder: python make_bnb.py

For each matrix `<name>` of `matrices()`:
  <name>.values                      the matrix before quantisation, in its own type
  <name>.nf4.weight, .weight.*       NF4 in blocks of 64, keys as in a saved model; no double quantisation
  <name>.nested.weight, .weight.*    NF4 in blocks of 64, the scales quantised once more in blocks of 256
  <name>.{nf4,nested}.dequantised    what bitsandbytes reads back, in the type of the matrix
  <name>.int8.weight, .SCB           rows scaled by their largest magnitude
  <name>.int8.dequantised            float32
The judge is bitsandbytes; nothing here is computed by the code under test.
"""
import bitsandbytes.functional as bnb
import torch
from safetensors.torch import save_file


def matrices():
    g = torch.Generator().manual_seed(20261125)
    normal = lambda *shape, std=0.02: torch.randn(*shape, generator=g) * std
    outlier = normal(32, 56)
    outlier[3, 7], outlier[20, 0] = 9.0, -30.0  # one lies far out of its block and row
    zero = normal(6, 128)
    zero[1] = 0.0  # two blocks and a row of nothing but zeros
    zero[4, :64] = 0.0
    sizes = normal(8, 64) * torch.logspace(-30, 25, 8)[:, None]
    ties = torch.linspace(-1, 1, 128).repeat(2, 1)  # many values, one block's scale exactly 1
    return {
        "small": normal(3, 64), "outlier": outlier, "zero": zero, "sizes": sizes, "ties": ties,
        "odd": normal(5, 37),  # 185 values: the last block has 57, the last byte one
        "short": normal(7, 30, std=1.0),  # 210 values: a last block of 18
        "large": normal(64, 576),  # 576 blocks: three blocks of scales, the last of 64
        # Rows of whole blocks: for halves, this version's CPU kernel takes each row's first block to begin with the row.
        "half": normal(4, 128).to(torch.float16), "brain": normal(4, 128).to(torch.bfloat16),
    }


def main():
    out = {}
    for name, values in matrices().items():
        out[f"{name}.values"] = values
        for kind, nested in [("nf4", False), ("nested", True)]:
            packed, state = bnb.quantize_4bit(values, blocksize=64, quant_type="nf4", compress_statistics=nested)
            out[f"{name}.{kind}.weight"] = packed
            out |= {f"{name}.{kind}.weight.{key}": t for key, t in state.as_dict(packed=True).items()}
            out[f"{name}.{kind}.dequantised"] = bnb.dequantize_4bit(packed, state).reshape(values.shape)
        # transformers hands this function half-precision weights; float32 works alike.
        rows, scales, _ = bnb.int8_vectorwise_quant(values)
        out[f"{name}.int8.weight"], out[f"{name}.int8.SCB"] = rows, scales
        out[f"{name}.int8.dequantised"] = bnb.int8_vectorwise_dequant(rows, scales)
    save_file({k: t.contiguous().clone() for k, t in out.items()}, "bnb.safetensors")


main()
