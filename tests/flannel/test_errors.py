"""One base class tells an error that is meant for a user from a fault of the program."""

import ast
import builtins
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("flannel", "segmentation", "patching")
BUILTIN = {
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}
# What tells mypy of a class, and a number of no pixel: neither comes from an option.
INNER = {"TypeError", "IndexError", "KeyError"}
# Arrays that the program itself hands from one function to another, which no option reaches.
OF_THE_PROGRAM = {
    "flannel/combinations.py": 1,
    "flannel/data/duplicates.py": 1,
    "flannel/data/greyscale.py": 2,
    "flannel/data/pictures.py": 3,
    "flannel/data/store.py": 1,
    "flannel/resampling.py": 1,
    "segmentation/measures.py": 1,
}


def trees():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def test_every_error_of_ours_inherits_from_the_one_base():
    bases = {
        node.name: {ast.unparse(base) for base in node.bases}
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    errors = BUILTIN - {"BaseException"}  # of which a signal is one, that nothing should catch
    assert [name for name, above in bases.items() if above & errors] == ["FlannelError"]


def test_what_a_user_can_get_wrong_raises_an_error_of_ours():
    raised = {}
    for name, tree in trees():
        for node in ast.walk(tree):
            call = node.exc if isinstance(node, ast.Raise) else None
            if isinstance(call, ast.Call) and ast.unparse(call.func) in BUILTIN - INNER:
                raised[name] = raised.get(name, 0) + 1
    assert raised == OF_THE_PROGRAM
