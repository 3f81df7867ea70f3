"""Bridges to other libraries; each is a module of its own, imported by name, that needs the library it leads to."""

from sparktune.exceptions import SparktuneError


class MissingPackageError(SparktuneError, ImportError):
    """A bridge was imported without the library it leads to."""
