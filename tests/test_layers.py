"""The package keeps its layers, imports without circles, light imports and a text free of one machine's paths."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "sparktune"

# From left to right: a module imports only from its own layer or from one before it.
LAYERS = [
    {"_version"},
    {"exceptions"},
    {"worker"},
    {"kernels"},
    {"space"},
    {"history"},
    {"storage"},
    {"search", "rand", "tpe", "gp", "auto", "anneal", "mix", "atpe", "grid", "qmc", "algobase"},
    {"run", "progress", "std_out_err_redirect_tqdm"},
    {"exchange"},
    {"results", "trials"},
    {"spark"},
    # What users import, hyperopt's import paths among it.
    {"study", "replay", "fmin", "hp", "early_stop", "bridges", "__init__"}
    | {"base", "pyll", "pyll_utils", "utils", "vectorize"},
    {"criteria", "graph_viz", "plotting", "rdists", "sklearn"},
    {"mongoexp", "ipy", "main", "compat", "cli", "__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# Where a third-party library may be imported, and whether at the top of a module.
HOMES = {
    "pyspark": (("spark", "worker"), "inside functions"),
    "pyarrow": (("spark", "worker"), "inside functions"),
    "threadpoolctl": (("kernels", "worker"), "anywhere"),
    "scipy": (("kernels", "rdists", "criteria", "sklearn"), "anywhere"),
    "sklearn": (("sklearn",), "anywhere"),
    "matplotlib": (("plotting",), "inside functions"),
    "optuna": (("bridges",), "anywhere"),
    "sqlalchemy": (("storage/database", "storage/engine", "storage/tables", "storage/writers"), "anywhere"),
    "fsspec": (("storage",), "inside functions"),
}

# By `import sparktune`: each costs more than all the rest.
NOT_LOADED = ["pyspark", "tqdm", "pandas", "optuna", "sklearn", "matplotlib", "sqlalchemy", "fsspec"]

# Folders of one person or one machine: homes, workspaces, and what is below the folder for temporary files.
MACHINE_PATH = re.compile(r"(?<![\w.$}>])/(root|work(space)?|(home|Users|tmp)/[\w.-]+)/")

MODULES = sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def base_package(path: Path, level: int) -> list[str]:
    """The package that ``level`` dots stand for in a module."""
    package = ["sparktune", *path.relative_to(PACKAGE).parent.parts]
    return package[: len(package) + 1 - level] if level else []


def imports(path: Path):
    """Yield (name, line, is lazy) of every import, ``from sparktune import x`` as ``sparktune.x``."""

    def walk(node: ast.AST, lazy: bool):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, child.lineno, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                module = ".".join(filter(None, [*base_package(path, child.level), child.module]))
                yield from ((f"{module}.{alias.name}", child.lineno, lazy) for alias in child.names)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                yield from walk(child, lazy=True)
            else:
                yield from walk(child, lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), lazy=False)


def imported_layer(module: str) -> str:
    """The layer of ``sparktune.x.y``; a name that is no module, such as a class, is from ``__init__``."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__"
    is_module = (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()
    return name if is_module else "__init__"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_its_layer_or_from_the_left(path):
    """No import points to the right, lazy ones and those for type checking included."""
    assert layer_of(path) in RANK, f"give {layer_of(path)} a place in LAYERS"
    wrong = [
        f"line {line}: {module}"
        for module, line, _ in imports(path)
        if module.partition(".")[0] == "sparktune" and RANK[imported_layer(module)] > RANK[layer_of(path)]
    ]
    assert not wrong


def module_name(path: Path) -> str:
    return ".".join(["sparktune", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


def loaded_by(path: Path, modules: set[str]) -> set[str]:
    """Which of ``modules`` a module needs when it is loaded: those it imports, and the packages these are in."""
    own, found = module_name(path), set()
    for name, _, lazy in imports(path):
        parts = name.split(".")
        known = [part for n in range(len(parts)) if (part := ".".join(parts[: n + 1])) in modules]
        if known and not lazy:
            # Packages around both of them are being loaded already, and may be half done, unless names are from there.
            found |= {known[-1], *(package for package in known[:-1] if not f"{own}.".startswith(f"{package}."))}
    return found - {own}


def test_no_imports_go_in_a_circle():
    """Those that happen when a module is loaded: not those in functions, and not those for type checking."""
    modules = {module_name(path) for path in MODULES}
    try:
        TopologicalSorter({module_name(path): loaded_by(path, modules) for path in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_third_party_libraries_stay_where_they_belong(path):
    """Each is imported only in the modules that HOMES gives it, and inside functions where that says so."""
    wrong = []
    for module, line, lazy in imports(path):
        homes, where = HOMES.get(module.partition(".")[0], ((layer_of(path),), "anywhere"))
        here = {layer_of(path), path.relative_to(PACKAGE).with_suffix("").as_posix()}
        if not here & {*homes} or (where == "inside functions" and not lazy):
            wrong.append(f"line {line}: {module} belongs below {' or '.join(homes)}, {where}")
    assert not wrong


@pytest.mark.parametrize("path", sorted((PACKAGE / "worker").glob("*.py")), ids=lambda path: path.name)
def test_what_travels_to_workers_needs_nothing_of_ours(path):
    """Modules that are sent to Spark as source import the standard library and one another, by relative imports."""
    wrong = [
        f"line {line}: {module}"
        for module, line, lazy in imports(path)
        if module.partition(".")[0] not in {*sys.stdlib_module_names, "sparktune"} and not lazy
    ]
    assert not wrong
    assert "from sparktune" not in path.read_text(encoding="utf-8")


def test_importing_sparktune_loads_nothing_heavy():
    """``import sparktune`` in a fresh process loads no library that only some programs need."""
    code = f"import sys, sparktune; print(*[name for name in {NOT_LOADED} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert output.stdout.split() == []


def test_contributing_shows_the_layers():
    """The line of layers there is ``LAYERS``, from left to right, with one module of each at least."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^```\n(exceptions <.*?)```$", text, re.MULTILINE | re.DOTALL)
    shown = [set(re.findall(r"\w+", part)) & set(RANK) for part in line.split("<")]
    misplaced = [names - layer for names, layer in zip(shown, LAYERS[1:], strict=True)]  # all import the version
    assert not any(misplaced)
    assert all(shown)


@pytest.mark.parametrize("path", ["root/x", "work/x", "home/ada/x", "Users/ada/x", "tmp/v/x"])
def test_folders_of_one_machine_are_known(path):
    """Homes and what is below the folder for temporary files; not what is only called so, below another one."""
    assert MACHINE_PATH.search(f"see /{path}")
    assert not MACHINE_PATH.search(f"see /dbfs/{path} and $HOME/{path}")


def test_no_file_names_a_path_of_one_machine():
    """No tracked or new file mentions a folder that only exists where it was written."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git repository")
    wrong = []
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        text = path.read_bytes().decode("utf-8", errors="ignore") if path.is_file() else ""
        wrong += [f"{name}: {match.group()}" for match in MACHINE_PATH.finditer(text)]
    assert not wrong
