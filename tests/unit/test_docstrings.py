"""Docstrings and comments name what there is."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from sparktune import early_stop, hp
from sparktune.exceptions import InvalidArgumentError, InvalidSpaceError, InvalidTypeError

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "sparktune"
ROLE = re.compile(r":(?:func|class|meth|attr|mod|data|exc):`~?([^`]+)`")

PATHS = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PATHS}
NOT_OURS = ast.Pass()  # stands for what another library defines: taken on trust


def name_of(path):
    """What a module is called."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): tree for path, tree in TREES.items()}


def defined(body):
    """What statements define, by name: a class or function, an import, or the value of a variable."""
    found = {}
    for node in body:
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                found[node.name] = node
            case ast.Import() | ast.ImportFrom():
                found |= {alias.asname or alias.name.partition(".")[0]: node for alias in node.names}
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {n.id: node for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
            case ast.If() | ast.Try() | ast.With():
                handlers = [n for handler in getattr(node, "handlers", ()) for n in handler.body]
                found |= defined([*node.body, *getattr(node, "orelse", ()), *handlers])
    return found


def package_of(module):
    """The package that a module is in, or is."""
    return module if (ROOT / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]


def imported(module, node, name):
    """What an import has brought in: the module it is now, and the parts of the name in there."""
    if isinstance(node, ast.Import):
        return name, []
    package = package_of(module)
    for _ in range(node.level - 1):
        package = package.rpartition(".")[0]
    source = ".".join(filter(None, [package if node.level else "", node.module]))
    (old,) = [alias.name for alias in node.names if (alias.asname or alias.name) == name]
    return (f"{source}.{old}", []) if f"{source}.{old}" in MODULES else (source, [old])


def looked_up(module, parts):
    """The module and the node that a dotted name means in a module; None if there is no such name."""
    if module.partition(".")[0] != "sparktune":
        return module, NOT_OURS
    if not parts:
        return (module, MODULES[module]) if module in MODULES else None
    if f"{module}.{parts[0]}" in MODULES:
        return looked_up(f"{module}.{parts[0]}", parts[1:])
    node = defined(MODULES[module].body).get(parts[0]) if module in MODULES else None
    if isinstance(node, ast.Import | ast.ImportFrom):
        source, names = imported(module, node, parts[0])
        return looked_up(source, [*names, *parts[1:]])
    if node is None or len(parts) == 1:
        return node and (module, node)
    return member(module, node, parts[1]) if len(parts) == 2 else None


def member(module, node, name):
    """What a class, or one that it derives from, has under a name: in its body, or assigned to ``self``."""
    if not isinstance(node, ast.ClassDef):
        return None
    own = defined(node.body)
    if name in own:
        return module, own[name]
    for n in ast.walk(node):
        is_assigned = isinstance(n, ast.Attribute) and n.attr == name and isinstance(n.ctx, ast.Store)
        if is_assigned and isinstance(n.value, ast.Name) and n.value.id == "self":
            return module, n
    for base in node.bases:
        found = looked_up(module, ast.unparse(base).partition("[")[0].split("."))
        if found and (found[1] is NOT_OURS or (found := member(*found, name))):
            return found
    return None


def is_known(module, target, classes):
    """Whether a name leads somewhere, from a line within ``classes`` of a module.

    It is one of the module, of its package, of ``sparktune`` or of the class around, or whole; or it begins with a
    class, of which the package has one.
    """
    parts = target.lstrip(".").split(".")
    if any(looked_up(place, parts) for place in (module, package_of(module), "sparktune")):
        return True
    if any(member(module, node, target) for node in classes):
        return True
    if parts[0] == "sparktune":
        return bool(looked_up("sparktune", parts[1:]))
    owners = [name for name, tree in MODULES.items() if isinstance(defined(tree.body).get(parts[0]), ast.ClassDef)]
    return len(parts) == 2 and len(owners) == 1 and bool(looked_up(owners[0], parts))


def unknown(module, text):
    """The names in a module's text that lead nowhere, each with its line."""
    classes = [node for node in ast.walk(MODULES[module]) if isinstance(node, ast.ClassDef)]
    found = []
    for match in ROLE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        around = [node for node in classes if node.lineno <= line <= node.end_lineno]
        if not is_known(module, match[1], around):
            found.append(f"line {line}: {match[1]}")
    return found


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_docstring_refers_to_exists(path):
    """Every ``:func:``, ``:class:``, ``:meth:``, ``:attr:`` and ``:mod:`` of a module has its target."""
    assert unknown(name_of(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "target",
    ["nothing", "Trials.nothing", "sparktune.nothing", "sparktune.fmin.nothing", "sparktune.nothing.fmin", "refresh"],
)
def test_a_name_of_nothing_is_found(target):
    """Outside of a class, whose methods need its name."""
    assert unknown("sparktune.trials", f"\n:func:`{target}`") == [f"line 2: {target}"]


@pytest.mark.parametrize(
    "target",
    ["Trials", "documents.validate", "Trials.best_trial", "sparktune.run.loop", "sparktune.fmin", "History.sync"],
)
def test_a_name_of_something_is_not(target):
    """By the module, by an import, whole, by a class that is elsewhere; what a base class has counts."""
    assert unknown("sparktune.trials", f":meth:`~{target}`") == []


def errors_named(function):
    """What the section ``Raises`` of a docstring says."""
    return function.__doc__.partition("Raises:")[2]


@pytest.mark.parametrize("name", hp.__all__)
def test_what_a_parameter_raises_is_in_its_docstring(name):
    """For a label that is no text, and for bounds or options that are none."""
    function = getattr(hp, name)
    needed = [p for p in inspect.signature(function).parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD]
    good = {"choice": [[1]], "pchoice": [[(1.0, "a")]], "randint": [3]}.get(name, [1, 2, 1][: len(needed) - 1])
    for label, arguments in ((3, good), ("x", [None] * len(good))):
        with pytest.raises((InvalidTypeError, InvalidSpaceError)) as raised:
            function(label, *arguments)
        assert f"{type(raised.value).__name__}: " in errors_named(function)


def test_what_an_early_stop_raises_is_in_its_docstring():
    """For a count of trials that is none."""
    with pytest.raises(InvalidArgumentError):
        early_stop.no_progress_loss(0)
    assert "InvalidArgumentError: " in errors_named(early_stop.no_progress_loss)
