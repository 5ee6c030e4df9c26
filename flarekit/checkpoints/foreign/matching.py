"""Tensors of another project put into a network of ours, every one of them or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from flarekit.errors import CheckpointError

TheirName = Callable[[str], str]  # the other project's name of a tensor, from ours

COUNTER = "num_batches_tracked"  # of BatchNorm, which uses it for no output; files of early releases lack it
SHOWN = 3  # names in a message


def fill(network: nn.Module, state: Mapping[str, Tensor], their_name: TheirName, *, where: Path, what: str) -> None:
    """Fill the network from tensors under their names. Raises CheckpointError unless all fit and none is left over."""
    wanted = network.state_dict()
    names = {ours: their_name(ours) for ours in wanted}
    present = {ours: theirs for ours, theirs in names.items() if theirs in state or not ours.endswith(COUNTER)}
    missing = sorted(theirs for theirs in present.values() if theirs not in state)
    unexpected = sorted(state.keys() - set(names.values()))
    other = sorted(
        f"{theirs} {tuple(state[theirs].shape)} for {tuple(wanted[ours].shape)}"
        for ours, theirs in present.items()
        if theirs in state and state[theirs].shape != wanted[ours].shape
    )
    complaints = [("missing", missing), ("unexpected", unexpected), ("of another shape", other)]
    if found := [f"{len(names)} {kind} ({_some(names)})" for kind, names in complaints if names]:
        raise CheckpointError(
            f"does not hold {what}: tensors {', '.join(found)}",
            where=where,
            remedy="Check --as, and which network the file was saved from.",
        )
    network.load_state_dict({ours: state[theirs] for ours, theirs in present.items()}, strict=False)


def require(state: Mapping[str, Tensor], axes: Mapping[str, int], *, where: Path, what: str) -> None:
    """Raises CheckpointError unless tensors of these names, which sizes are read from, have so many axes."""
    if missing := [name for name, number in axes.items() if name not in state or state[name].ndim != number]:
        raise CheckpointError(
            f"does not hold {what}: it has no {_some(missing)} of the usual shape, but {_some(sorted(state))}",
            where=where,
            remedy="Check --as, and which network the file was saved from.",
        )


def count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many modules are numbered or named under a prefix that ends before their number."""
    return len({key.removeprefix(prefix).partition(".")[0] for key in state if key.startswith(prefix)})


def renamed(network: nn.Module, their_name: TheirName) -> dict[str, Tensor]:
    """A network's tensors under the other project's names, on the CPU."""
    return {their_name(ours): tensor.detach().cpu().clone() for ours, tensor in network.state_dict().items()}


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
