"""What configurations require of their fields."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from flarekit.config import require

NAN = float("nan")


@pytest.mark.parametrize(
    ("check", "value", "said"),
    [
        (lambda c: require.one_of(("a", "b"), c, "x", "y"), "c", "y is one of a, b, got 'c'"),
        (lambda c: require.one_of({"a": 1, "b": 2}, c, "y", table="rounds."), "c", "rounds.y is one of a, b, got 'c'"),
        (lambda c: require.at_least(1, c, "y"), 0, "y is at least 1, got 0"),
        (lambda c: require.at_least(0, c, "y"), NAN, "y is at least 0, got nan"),
        (lambda c: require.positive(c, "y"), 0.0, "y is positive, got 0.0"),
        (lambda c: require.positive(c, "y"), NAN, "y is positive, got nan"),
        (lambda c: require.shares(c, "y"), 1.5, "y lies in 0..1, got 1.5"),
        (lambda c: require.shares(c, "y"), NAN, "y lies in 0..1, got nan"),
    ],
)
def test_a_field_that_cannot_be_is_named_with_its_value(check, value, said):
    with pytest.raises(ValueError) as refused:
        check(SimpleNamespace(x="a", y=value))
    assert str(refused.value) == said


def test_what_may_be_and_what_is_open_pass():
    config = SimpleNamespace(name="b", none=None, zero=0, one=1)
    require.one_of(("a", "b"), config, "name", "none")
    require.at_least(0, config, "zero", "one", "none")
    require.at_least(1, config, "one")
    require.positive(config, "one", "none")
    require.shares(config, "zero", "one", "none")
