"""Operations that networks share: reading a key/value memory."""

from flarekit.ops.affinity import read_memory

__all__ = ["read_memory"]
