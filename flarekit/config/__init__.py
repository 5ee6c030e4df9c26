"""Configurations: frozen dataclasses, free of torch, validated when made, written and read as TOML."""
