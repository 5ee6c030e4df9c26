"""CT windowing: HU to the channels a network sees (paper, section 2.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from flarekit.config.preprocessing import WindowPreset


def window_slices(hu: Tensor, preset: WindowPreset) -> Tensor:
    """uint8 (..., C, H, W): each of the preset's ranges mapped linearly to 0..255, from HU (..., H, W)."""
    low, high = torch.tensor(preset.ranges_hu, dtype=torch.float32, device=hu.device)[:, :, None, None].unbind(1)
    scaled = (hu.float().unsqueeze(-3) - low) * (255.0 / (high - low))
    return scaled.round_().clamp_(0, 255).to(torch.uint8)
