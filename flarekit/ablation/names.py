"""What the steps of an ablation are called: by what they depend on, so that rows share what is the same for them.

A name ends in a digest of the settings that are not the default ones. A setting that is changed gives a step another
name, and what was made with the old one stays as it is; a setting that a later flarekit adds changes no name.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from flarekit.config import toml
from flarekit.config.ablation import AblationConfig, AblationRow
from flarekit.config.consensus import ConsensusConfig
from flarekit.config.segment import SegmentConfig
from flarekit.config.training import CPSConfig, LoopConfig, STCNTrainingConfig

_DIGITS = 8


def pair_training(config: AblationConfig, row: AblationRow, seed: int) -> CPSConfig:
    """How a row's pair is trained with a seed, without pseudo-labels; one without CPS has no unlabelled slices."""
    training = replace(config.training, pseudo_batch=None, loop=replace(config.training.loop, seed=seed))
    return training if row.cps else replace(training, unlabelled_batch=0)


def student_training(config: AblationConfig, row: AblationRow, seed: int) -> CPSConfig:
    """How it is trained with them: slices that have one take the place of unlabelled ones, where there are any."""
    training = pair_training(config, row, seed)
    return replace(training, pseudo_batch=config.training.pseudo_batch) if row.cps else training


def pair_name(prefix: str, config: AblationConfig, row: AblationRow, seed: int) -> str:
    """Of a pair that is trained without pseudo-labels."""
    kind = "cps" if row.cps else "supervised"
    return f"{prefix}-{kind}-{row.windows}-{seed}-{_digest(_settings(pair_training(config, row, seed)), config.arch)}"


def labels_name(config: AblationConfig, row: AblationRow, members: tuple[str, ...]) -> str:
    """Of a folder of pseudo-labels that these checkpoints make."""
    trust = _own(config.consensus, ConsensusConfig())
    return f"{'cps' if row.cps else 'supervised'}-{row.windows}-{_digest(members, trust)}"


def student_name(prefix: str, config: AblationConfig, row: AblationRow, labels: str) -> str:
    """Of a pair that is trained with the pseudo-labels in a folder of that name."""
    seed = config.training.loop.seed
    training = _settings(student_training(config, row, seed))
    return f"{prefix}-{'cps' if row.cps else 'supervised'}-{row.windows}-pseudo-{seed}-{_digest(training, labels)}"


def stcn_name(prefix: str, config: AblationConfig) -> str:
    """Of the propagation network."""
    return f"{prefix}-stcn-{config.stcn.loop.seed}-{_digest(_settings(config.stcn), config.arch)}"


def masks_name(reference: str, propagation: str | None, segment: SegmentConfig) -> str:
    """Of a folder of masks by checkpoints (NAME@VERSION with their weights' digest)."""
    chain = None if propagation is None else (propagation, _own(segment, SegmentConfig()))
    return f"{reference.split('@')[0]}-{'slices' if propagation is None else 'chain'}-{_digest(reference, chain)}"


def _settings(training: CPSConfig | STCNTrainingConfig) -> dict[str, Any]:
    """Those of its own that change what is learned."""
    loop = replace(training.loop, save_every=LoopConfig.save_every, workers=LoopConfig.workers)
    return _own(replace(training, loop=loop), type(training)())


def _own(config: Any, default: Any) -> dict[str, Any]:
    """What of a configuration is not as by default."""
    return _difference(toml.to_dict(config), toml.to_dict(default))


def _difference(given: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for key in (given.keys() | default.keys()) - {key for key in given if given[key] == default.get(key)}:
        value, usual = given.get(key), default.get(key)
        found[key] = _difference(value, usual) if isinstance(value, dict) and isinstance(usual, dict) else value
    return found


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:_DIGITS]
