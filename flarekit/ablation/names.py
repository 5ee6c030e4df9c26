"""What the steps of an ablation are called: by what they depend on, so that rows share what is the same for them.

A name ends in a digest of its settings. A setting that is changed gives a step another name, and what was made with
the old one stays as it is.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from flarekit.config import toml
from flarekit.config.ablation import AblationConfig, AblationRow
from flarekit.config.segment import SegmentConfig
from flarekit.config.training import CPSConfig, STCNTrainingConfig

_DIGITS = 8


def pair_training(config: AblationConfig, row: AblationRow, seed: int) -> CPSConfig:
    """How a row's pair of networks is trained with a seed: without unlabelled slices where it is not by CPS."""
    training = config.training if row.cps else replace(config.training, unlabelled_batch=0)
    return replace(training, loop=replace(training.loop, seed=seed))


def pair_name(prefix: str, config: AblationConfig, row: AblationRow, seed: int) -> str:
    """Of a pair that is trained without pseudo-labels."""
    kind = "cps" if row.cps else "supervised"
    return f"{prefix}-{kind}-{row.windows}-{seed}-{_digest(_settings(pair_training(config, row, seed)), config.arch)}"


def labels_name(config: AblationConfig, row: AblationRow, members: tuple[str, ...]) -> str:
    """Of a folder of pseudo-labels that these checkpoints make."""
    return f"{'cps' if row.cps else 'supervised'}-{row.windows}-{_digest(members, toml.to_dict(config.consensus))}"


def student_name(prefix: str, config: AblationConfig, row: AblationRow, labels: str) -> str:
    """Of a pair that is trained with the pseudo-labels in a folder of that name."""
    seed = config.training.loop.seed
    training = _settings(pair_training(config, row, seed))
    return f"{prefix}-{'cps' if row.cps else 'supervised'}-{row.windows}-pseudo-{seed}-{_digest(training, labels)}"


def stcn_name(prefix: str, config: AblationConfig) -> str:
    """Of the propagation network."""
    return f"{prefix}-stcn-{config.stcn.loop.seed}-{_digest(_settings(config.stcn), config.arch)}"


def masks_name(reference: str, propagation: str | None, segment: SegmentConfig) -> str:
    """Of a folder of masks by checkpoints (NAME@VERSION with their weights' digest)."""
    chain = None if propagation is None else (propagation, toml.to_dict(segment))
    return f"{reference.split('@')[0]}-{'slices' if propagation is None else 'chain'}-{_digest(reference, chain)}"


def _settings(training: CPSConfig | STCNTrainingConfig) -> dict[str, Any]:
    """Those that change what is learned."""
    settings = toml.to_dict(training)
    settings["loop"] = {key: value for key, value in settings["loop"].items() if key not in ("save_every", "workers")}
    return settings


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:_DIGITS]
