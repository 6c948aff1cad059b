"""The graph of ``mvc log --graph``: each edge is drawn, whatever hangs together how."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mvc.cli.graph import MOST_PARENTS, Node, drawn

# How a lane may go on from one line to the next: by what sign, how many columns to the side.
STEPS = {"|": 0, "/": -1, "\\": 1}


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    """Nodes in some order, with parents among them and elsewhere; circles too."""
    keys = draw(st.lists(st.integers(0, 30).map(str), unique=True, min_size=1, max_size=12))
    parents = st.lists(st.sampled_from(keys), max_size=4).map(tuple)
    return [Node(key, draw(parents), (f"id {key}", "a", "b")) for key in keys]


def without_circles(nodes: list[Node]) -> list[Node]:
    """Keep the edges that lead down the list."""
    below = {node.key: {other.key for other in nodes[at + 1 :]} for at, node in enumerate(nodes)}
    return [
        Node(n.key, tuple(p for p in n.parents if p in below[n.key]), n.text, n.mark) for n in nodes
    ]


def read_back(lines: list[str]) -> set[tuple[str, str]]:
    """Follow the lines of a drawing downward from each node, and return whom they reach."""
    edges: set[tuple[str, str]] = set()
    lanes: dict[int, set[str]] = {}
    for line in lines:
        signs = line.partition("id ")[0] if "id " in line else line
        signs = signs.rstrip("ab ") if "id " not in line else signs
        coming: dict[int, set[str]] = {}
        below: dict[int, set[str]] = {}
        node = line.partition("id ")[2] if "id " in line else None
        for at, sign in enumerate(signs):
            if sign == "*":
                assert node is not None
                edges |= {(child, node) for child in lanes.get(at, ())}
                below[at] = {node}
            elif sign == "|":
                below.setdefault(at, set()).update(lanes.get(at, ()))
            elif sign == "/":
                coming.setdefault(at - 1, set()).update(lanes.get(at + 1, ()))
            elif sign == "\\":
                coming.setdefault(at + 1, set()).update(lanes.get(at - 1, ()))
        for at, keys in coming.items():
            end = at
            while end >= 1 and signs[end - 1] == "_":  # it runs on to the left below others
                end -= 2
            below.setdefault(end, set()).update(keys)
        lanes = below
    return edges


@given(graphs())
def test_every_edge_is_drawn_and_no_other(nodes: list[Node]) -> None:
    """Who follows the lanes from a node comes to its parents, and to nobody else."""
    nodes = without_circles(nodes)
    told = {(node.key, parent) for node in nodes for parent in node.parents}
    assert read_back(list(drawn(nodes))) == told


@given(graphs())
def test_every_node_is_drawn_once_with_its_text(nodes: list[Node]) -> None:
    """Circles or not, each node is there, with all its lines."""
    lines = list(drawn(nodes))
    assert sorted(line.partition("id ")[2] for line in lines if "id " in line) == sorted(
        node.key for node in nodes
    )
    for text in ("a", "b"):
        assert sum(line.endswith(text) for line in lines) == len(nodes)


@given(graphs())
def test_children_come_before_their_parents(nodes: list[Node]) -> None:
    """Reading downward is going back to what was there before."""
    nodes = without_circles(nodes)
    order = [line.partition("id ")[2] for line in drawn(nodes) if "id " in line]
    for node in nodes:
        assert all(order.index(node.key) < order.index(parent) for parent in node.parents)


def test_a_thousand_parents_are_not_all_drawn() -> None:
    """A record that names very many parents does not fill the screen with edges."""
    parents = tuple(f"p{number}" for number in range(1000))
    nodes = [Node("all", parents, ("all",)), *(Node(key, (), (key,)) for key in parents)]
    assert max(map(len, drawn(nodes))) < 4 * MOST_PARENTS
