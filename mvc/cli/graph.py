"""A graph of what was made from what, as lines of text: children first, a lane for each open edge.

::

    *    merged/v1
    |\\
    | *  bert/v3
    * |  bert/v2
    |/
    *  bert/v1

It knows nothing of versions. Edges that would lead upward, as in a circle, are
left out: the text of a node says all the same what it was made from.

Public names: ``Node``, ``drawn``, ``MOST_PARENTS``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

# So many edges of a node are drawn.
MOST_PARENTS = 16


@dataclass(frozen=True, slots=True)
class Node:
    """A node under its key: the keys of its parents, and the lines beside it."""

    key: str
    parents: tuple[str, ...]
    text: tuple[str, ...]
    mark: str = "*"


def drawn(nodes: Sequence[Node]) -> Iterator[str]:
    """Yield the lines of a graph; what has no order between them stays in the order given."""
    lanes: list[str] = []
    passed: set[str] = set()
    for node in _children_first(nodes):
        passed.add(node.key)
        if node.key not in lanes:
            lanes.append(node.key)
        place = lanes.index(node.key)
        first = _line({2 * lane: "|" for lane in range(len(lanes))} | {2 * place: node.mark})
        parents = [parent for parent in dict.fromkeys(node.parents) if parent not in passed]
        edges = list(_edges(lanes, place, parents[:MOST_PARENTS]))
        straight = _line({2 * lane: "|" for lane in range(len(lanes))})
        width = max(map(len, [first, *edges, straight]))
        beside = zip_longest(edges, node.text[1:])
        yield f"{first:<{width}}  {node.text[0]}"
        for edge, text in beside:
            left = straight if edge is None else edge
            yield f"{left:<{width}}  {text or ''}".rstrip()


def _children_first(nodes: Sequence[Node]) -> Iterator[Node]:
    """Sort so that a node comes before its parents, and a line of descent is not broken up."""
    known = {node.key: node for node in nodes}
    children = dict.fromkeys(known, 0)
    for node in known.values():
        for parent in _within(node, known):
            children[parent] += 1
    tips = [key for key in reversed(known) if not children[key]]
    others = iter(nodes)
    while known:
        key = tips.pop() if tips else next(node.key for node in others if node.key in known)
        node = known.pop(key)
        yield node
        for parent in reversed(_within(node, known)):
            children[parent] -= 1
            if not children[parent]:
                tips.append(parent)


def _within(node: Node, known: Iterable[str]) -> list[str]:
    return [parent for parent in dict.fromkeys(node.parents) if parent in known]


def _edges(lanes: list[str], place: int, parents: Sequence[str]) -> Iterator[str]:
    """Lead the lane of a node on to its parents; yield a line for each step."""
    if not parents:
        del lanes[place]
        if place < len(lanes):
            yield _line(_closed(lanes, place))
        return
    lanes[place] = parents[0]
    for parent in reversed(parents[1:]):
        lanes.insert(place + 1, parent)
        opened = dict.fromkeys(range(0, 2 * place + 1, 2), "|") | {2 * place + 1: "\\"}
        yield _line(opened | {2 * lane - 1: "\\" for lane in range(place + 2, len(lanes))})
    while len(set(lanes)) < len(lanes):
        right = next(lane for lane, key in enumerate(lanes) if key in lanes[:lane])
        left = lanes.index(lanes[right])
        del lanes[right]
        across = {2 * lane + 1: "_" for lane in range(left, right - 1)} | {2 * right - 1: "/"}
        yield _line(_closed(lanes, right) | across)


def _closed(lanes: Sequence[str], place: int) -> dict[int, str]:
    """Return lanes of which those from ``place`` on come one to the left, into a gap."""
    straight = {2 * lane: "|" for lane in range(place)}
    return straight | {2 * lane + 1: "/" for lane in range(place, len(lanes))}


def _line(signs: dict[int, str]) -> str:
    return "".join(signs.get(at, " ") for at in range(max(signs, default=-1) + 1))
