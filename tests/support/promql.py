"""PromQL as tests see it: which metrics an expression reads, and which labels it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_PARTS = ("lhs", "rhs", "expr", "param", "args", "vector_selector")


def used(expression: str) -> tuple[set[str], set[str]]:
    """
    Return the names of metrics and of labels in an expression.

    Raises:
        ValueError: It is not PromQL.
    """
    import promql_parser  # which is not on every machine

    metrics, labels = set(), set()
    for node in _nodes(promql_parser.parse(expression)):
        if isinstance(node, promql_parser.VectorSelector):
            metrics.add(node.name)
            labels |= {matcher.name for matcher in node.matchers.matchers}
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            labels |= set(node.modifier.labels)
    return metrics, labels


def _nodes(node: Any) -> Iterator[Any]:
    if isinstance(node, list):
        for one in node:
            yield from _nodes(one)
        return
    yield node
    for part in _PARTS:
        if (inner := getattr(node, part, None)) is not None and not isinstance(inner, str):
            yield from _nodes(inner)
