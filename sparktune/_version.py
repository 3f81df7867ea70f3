"""The version of sparktune, and nothing else: ``setup.cfg`` reads it without importing the package."""

__version__ = "0.1.0"
