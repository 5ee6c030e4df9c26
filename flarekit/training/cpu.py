"""What the processor computes quickly."""

from __future__ import annotations

import torch


def is_fast_in_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 itself, by AVX512-BF16 or AMX; others were seen 100 times slower in it."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
