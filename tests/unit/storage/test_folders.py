"""Folders of object stores: what is said of one that cannot be used."""

import pytest

from sparktune import fmin, hp, rand
from sparktune.exceptions import InvalidArgumentError, InvalidStorage, MissingPackageError
from sparktune.storage.folders import object_store

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'sparktune[fsspec]'")


class StoreError(Exception):
    """As some stores have of their own."""


@pytest.fixture
def connecting():
    """Has a store at ``connecting://`` that fails, with an error that is given, when it is made."""

    def fail_with(error):
        class Connecting(fsspec.AbstractFileSystem):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                raise error

        fsspec.register_implementation("connecting", Connecting, clobber=True)
        return "connecting://host/study"

    return fail_with


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionRefusedError(111, "Connection refused"), r"\[Errno 111\] Connection refused"),
        (OSError("Unable to load libjvm\ndlopen failed"), "Unable to load libjvm"),
        (StoreError(), "StoreError"),
    ],
)
def test_a_store_that_connects_at_once_and_cannot_is_an_error_of_the_storage(connecting, error, why):
    """Whatever it raises: the error names the URL, what happened, and what to look at."""
    url = connecting(error)
    with pytest.raises(InvalidStorage, match=rf"storage {url} cannot be reached \({why}\): see that its host runs"):
        fmin(abs, hp.uniform("x", -1, 1), rand.suggest, 2, storage=url, verbose=False)


def test_what_interrupts_is_no_error_of_the_storage(connecting):
    """Ctrl-C while a store does not answer ends the program."""
    with pytest.raises(KeyboardInterrupt):
        object_store(connecting(KeyboardInterrupt()))


@pytest.mark.parametrize(
    ("scheme", "package"), [("abfss", "adlfs"), ("s3", "s3fs"), ("gs", "gcsfs"), ("dir::abfss", "adlfs")]
)
def test_a_store_that_only_its_package_brings_to_fsspec_has_it_named(scheme, package, monkeypatch):
    """fsspec says no more than that it does not know it."""

    def refuse(url):
        raise ValueError(f"Protocol not known: {scheme}")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(MissingPackageError, match=f"Protocol not known: {scheme}.*pip install {package}"):
        object_store(f"{scheme}://a/b")


def test_a_store_that_nobody_knows_may_have_a_package():
    """The error says so."""
    with pytest.raises(InvalidArgumentError, match="nosuch: see how it is spelt, or install the package that brings"):
        object_store("nosuch://x")


def test_the_password_in_a_url_is_shown_nowhere():
    """Neither by the store that it stands for, nor in an error: both end up in logs."""
    assert str(object_store("memory://user:s3:cret@host/study")) == "memory://user:***@host/study"
    with pytest.raises(InvalidArgumentError, match=r"storage nosuch://user:\*\*\*@host/study is no URL"):
        object_store("nosuch://user:s3:cret@host/study")


@pytest.mark.parametrize("cache", ["simplecache", "filecache", "blockcache"])
def test_a_store_behind_a_cache_is_refused(cache):
    """It would show who wrote there a while ago, and two would write at once."""
    url = f"{cache}::memory://bucket/study"
    with pytest.raises(InvalidStorage, match=r"behind a cache.*name the store itself, memory://bucket/study"):
        object_store(url)
