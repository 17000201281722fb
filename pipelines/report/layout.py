"""Where the nodes of a graph stand: layers from top to bottom, few crossings, straight lines where possible.

The classic four steps: drop edges that longer ways imply, put every node on a layer, order the layers so that
edges cross little, then move nodes towards their neighbours without letting them overlap.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Mapping, Sequence

__all__ = ["Layout", "layered"]

_STARTS, _SWEEPS = 24, 8
_Node = str | tuple[str, str, int]
_Neighbours = Mapping[_Node, Sequence[_Node]]


@dataclasses.dataclass(frozen=True)
class Layout:
    """A drawing plan.

    Attributes:
        centres: By node: the horizontal centre in pixels and the layer, counted from the top.
        edges: By (from, to): the horizontal centre on every layer that the edge passes, both ends included.
        width: Of everything, in pixels.
        layers: How many there are.
    """

    centres: dict[str, tuple[float, int]]
    edges: dict[tuple[str, str], list[float]]
    width: float
    layers: int


def layered(depends_on: Mapping[str, Sequence[str]], node_width: float, gap: float) -> Layout:
    """Lays out a directed graph without cycles.

    Args:
        depends_on: The nodes that each node waits for; names that are no key are left out.
        node_width: Width of a node in pixels.
        gap: Smallest space between two nodes of a layer in pixels.

    Raises:
        ValueError: When the graph has a cycle.
    """
    order = _topological(
        {name: [d for d in dict.fromkeys(above) if d in depends_on] for name, above in depends_on.items()}
    )
    parents = _reduced(order)
    layer = _layers(parents)
    chains: dict[tuple[str, str], list[_Node]] = {
        (above, name): [above, *((above, name, rank) for rank in range(layer[above] + 1, layer[name])), name]
        for name, all_above in parents.items()
        for above in all_above
    }
    up: dict[_Node, list[_Node]] = {}
    down: dict[_Node, list[_Node]] = {}
    rows: list[list[_Node]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for name, rank in layer.items():
        rows[rank].append(name)
    for edge, chain in chains.items():
        for upper, lower in itertools.pairwise(chain):
            down.setdefault(upper, []).append(lower)
            up.setdefault(lower, []).append(upper)
        for rank, node in enumerate(chain[1:-1], start=layer[edge[0]] + 1):
            rows[rank].append(node)
    rows = _uncrossed(rows, up, down)
    x = _places(rows, up, down, node_width, gap)
    left = min((x[name] for name in layer), default=0.0) - node_width / 2
    right = max((x[name] for name in layer), default=0.0) + node_width / 2
    left, right = min([left, *x.values()]), max([right, *x.values()])
    return Layout(
        {name: (x[name] - left, rank) for name, rank in layer.items()},
        {edge: [x[node] - left for node in chain] for edge, chain in chains.items()},
        right - left,
        len(rows),
    )


def _topological(parents: dict[str, list[str]]) -> dict[str, list[str]]:
    """Returns the same graph, every node after those it depends on."""
    ordered: dict[str, list[str]] = {}
    pending = dict(parents)
    while pending:
        ready = [name for name, above in pending.items() if all(d in ordered for d in above)]
        if not ready:
            raise ValueError(f"the tasks depend on each other in a circle: {', '.join(sorted(pending))}")
        for name in ready:
            ordered[name] = pending.pop(name)
    return ordered


def _reduced(parents: dict[str, list[str]]) -> dict[str, list[str]]:
    """Returns the graph without the edges that a longer way implies."""
    ancestors: dict[str, set[str]] = {}
    reduced = {}
    for name, above in parents.items():
        ancestors[name] = set(above).union(*(ancestors[d] for d in above))
        reduced[name] = [d for d in above if not any(d in ancestors[other] for other in above if other != d)]
    return reduced


def _layers(parents: dict[str, list[str]]) -> dict[str, int]:
    """Returns each node's layer: below all it depends on; a link of a chain stands close to the one below it."""
    layer: dict[str, int] = {}
    for name, above in parents.items():
        layer[name] = 1 + max((layer[d] for d in above), default=-1)
    children: dict[str, list[str]] = {name: [] for name in parents}
    for name, above in parents.items():
        for d in above:
            children[d].append(name)
    for name in reversed(parents):
        if len(children[name]) == 1 and len(parents[name]) <= 1:
            layer[name] = layer[children[name][0]] - 1
    return layer


def _uncrossed(rows: list[list[_Node]], up: _Neighbours, down: _Neighbours) -> list[list[_Node]]:
    """Returns the layers in an order with few crossings: the best of several starts, always the same ones."""
    chance = random.Random(0)  # noqa: S311  a layout, no secret
    best, fewest = rows, math.inf
    for start in range(_STARTS):
        tried = [list(row) if start == 0 else chance.sample(row, len(row)) for row in rows]
        for sweep in range(_SWEEPS):
            _sweep(tried, up, down, downwards=sweep % 2 == 0)
        crossings = sum(_crossings(upper, lower, down) for upper, lower in itertools.pairwise(tried))
        if crossings < fewest:
            best, fewest = tried, crossings
    return best


def _sweep(rows: list[list[_Node]], up: _Neighbours, down: _Neighbours, *, downwards: bool) -> None:
    """Sorts each layer by the mean place of its neighbours on the layer before."""
    neighbours = up if downwards else down
    for fixed, row in itertools.pairwise(rows if downwards else rows[::-1]):
        place = {node: index for index, node in enumerate(fixed)}
        wanted = {
            node: _mean([place[n] for n in neighbours.get(node, ())], float(index)) for index, node in enumerate(row)
        }
        row.sort(key=wanted.__getitem__)


def _crossings(upper: Sequence[_Node], lower: Sequence[_Node], down: _Neighbours) -> int:
    place = {node: index for index, node in enumerate(lower)}
    ends = [[place[child] for child in down.get(node, ())] for node in upper]
    return sum(below > other for left, right in itertools.combinations(ends, 2) for below in left for other in right)


def _places(
    rows: list[list[_Node]], up: _Neighbours, down: _Neighbours, node_width: float, gap: float
) -> dict[_Node, float]:
    """Returns each node's horizontal centre, near the mean of those below it, else of those above."""

    def half(node: _Node) -> float:
        return node_width / 2 if isinstance(node, str) else 4.0

    offsets = []
    for row in rows:
        offset = [0.0]
        for one, other in itertools.pairwise(row):
            offset.append(offset[-1] + half(one) + half(other) + gap)
        offsets.append(offset)
    x = {
        node: place - offset[-1] / 2
        for row, offset in zip(rows, offsets, strict=True)
        for node, place in zip(row, offset, strict=False)
    }
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        neighbours = up if downwards else down
        for row, offset in list(zip(rows, offsets, strict=True))[:: 1 if downwards else -1]:
            wanted = [_mean([x[n] for n in neighbours.get(node, ())], x[node]) for node in row]
            x.update(zip(row, _spread(wanted, offset), strict=True))
    return x


def _spread(wanted: Sequence[float], offset: Sequence[float]) -> list[float]:
    """Returns the places nearest to the wanted ones (least squares) that keep the offsets' distances.

    Less the offsets, the places must only not fall: pooling neighbours that do solves it exactly.
    """
    pools: list[tuple[float, int]] = []
    for place in (want - shift for want, shift in zip(wanted, offset, strict=False)):
        mean, size = place, 1
        while pools and pools[-1][0] > mean:
            other, count = pools.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        pools.append((mean, size))
    flat = [mean for mean, size in pools for _ in range(size)]
    return [place + shift for place, shift in zip(flat, offset, strict=False)]


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default
