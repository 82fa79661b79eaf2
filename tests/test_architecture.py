"""Imports only go down (docs/architecture.md), and the packages stand alone."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("flannel", "segmentation", "patching")
# From the bottom: a room may import itself and what is on floors below it.
FLOORS = (
    ("flannel", "errors"),
    ("files", "progress", "templates", "losses", "uncertainty", "networks", "patching"),
    ("data", "runs"),
    ("study", "segmentation"),
    ("metrics",),
    ("learners", "ensemble"),
    ("comparison",),
    ("prediction",),
    ("bundle", "analysis"),
    ("commands", "loaded", "lungs"),
    ("__main__",),
)


@cache
def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


@cache
def imported(path: Path, deep: bool) -> list[ast.Import | ast.ImportFrom]:
    """The imports of a module: those that run when it is imported, or all with `deep`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if deep else _at_import(tree)
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


@cache
def imports(name: str, deep: bool) -> set[str]:
    """Our modules that a module imports; with `deep`, also those imported inside functions."""
    known = modules()
    path = known[name]
    targets = set()
    for node in imported(path, deep):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        else:
            base = node.module or ""
            if node.level:
                package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                kept = package[: len(package) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                targets.add(full if full in known else base)
    return {target for target in targets if target.split(".")[0] in PACKAGES}


def _at_import(tree: ast.Module):
    """Nodes that run when the module is imported: nothing inside functions or TYPE_CHECKING."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


def room_of(name: str) -> str:
    """`flannel.data.store.layout` is in `data`, `segmentation.masks.folder` in `segmentation`."""
    package, _, inside = name.partition(".")
    return inside.split(".")[0] if package == "flannel" and inside else package


def floor_of(room: str) -> int:
    return next(floor for floor, rooms in enumerate(FLOORS) if room in rooms)


def test_every_room_has_one_floor():
    rooms = [room for floor in FLOORS for room in floor]
    assert len(rooms) == len(set(rooms))
    assert set(rooms) == {room_of(name) for name in modules()}


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_only_go_down(name):
    room = room_of(name)
    for target in imports(name, deep=True):
        below = floor_of(room_of(target)) < floor_of(room)
        assert room_of(target) == room or below, f"{name} imports {target}, which is not below it"
    if room == "patching":  # stands alone, but for the base class of errors
        assert {room_of(target) for target in imports(name, deep=True)} <= {"patching", "errors"}


def test_imports_form_no_circle():
    arrows = {name: imports(name, deep=False) for name in modules()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name in done:
            return
        for target in arrows.get(name, ()):
            visit(target, (*way, name))
        done.add(name)

    for name in modules():
        visit(name, ())


COMMANDS = sorted(name for name in modules() if name.startswith("flannel.commands."))


@pytest.mark.parametrize("name", ["flannel.__main__", "segmentation.__main__", *COMMANDS])
def test_the_command_table_is_quick_because_it_does_not_import_torch(name):
    known, reached, waiting = modules(), set(), [name]
    while waiting:
        module = waiting.pop()
        if module in reached:
            continue
        reached.add(module)
        for node in imported(known[module], deep=False):
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            else:
                names = {(node.module or "").split(".")[0]}
            assert not names & {"torch", "lightning", "torchvision", "wandb"}, module
        for target in imports(module, deep=False):  # with the rooms that a module lies in
            parts = target.split(".")
            waiting += [".".join(parts[: end + 1]) for end in range(len(parts))]
    assert name in reached
