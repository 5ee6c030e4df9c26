"""ImageNet weights of timm for the encoder of DeepLabV3+, by name from timm's hub or from a file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from flarekit.checkpoints.foreign.state import read_state
from flarekit.errors import CheckpointError, UsageError
from flarekit.models import DeepLabV3Plus

logger = logging.getLogger(__name__)


def load_encoder_weights(network: DeepLabV3Plus, weights: str) -> str:
    """Fill the encoder; what the weights are called comes back.

    `weights` is a name of timm's for this encoder (`efficientnet_b3.ra2_in1k`, or `efficientnet_b3` for its
    first choice), or a file of such weights (.pth, .bin or .safetensors). The classifier in them is left out.
    Raises UsageError when timm has none of that name, CheckpointError when a file does not fit or the download fails.
    """
    file = Path(weights)
    if file.is_file():
        _fill(network, read_state(file), where=file)
        return f"{network.config.encoder} ({file.name})"
    name = _known(network.config.encoder, weights)
    _fill(network, _download(name), where=name)
    return name


def _known(encoder: str, weights: str) -> str:
    import timm  # takes seconds

    names = timm.list_pretrained(f"{encoder}.*")
    if weights == encoder and names:
        return encoder
    if weights not in names:
        raise UsageError(
            f"timm has no weights {weights!r} for the encoder {encoder}, and there is no file of that name",
            remedy=f"Known: {', '.join(names) or 'none'}.",
        )
    return weights


def _download(name: str) -> Mapping[str, Tensor]:
    import timm

    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:  # of no network, of the hub's own kinds, and of weights that do not fit
        raise CheckpointError(
            f"could not be downloaded ({str(error).splitlines()[0]})",
            where=f"timm's weights {name}",
            remedy="Download them where there is a network, and pass the file: --encoder-weights FILE.",
        ) from error


def _fill(network: DeepLabV3Plus, state: Mapping[str, Tensor], *, where: str | Path) -> None:
    wanted = network.encoder.state_dict()
    missing = sorted(key for key in wanted if key not in state or state[key].shape != wanted[key].shape)
    if missing:
        raise CheckpointError(
            f"is not {network.config.encoder} as timm stores it: {', '.join(missing[:3])} missing or of another shape",
            where=where,
            remedy="Use weights of the encoder's own name; `flarekit models show --arch` names it.",
        )
    network.encoder.load_state_dict({key: state[key] for key in wanted}, strict=True)
