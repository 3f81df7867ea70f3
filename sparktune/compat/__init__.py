"""Programs written for hyperopt run as they are: every ``import hyperopt`` in the process means sparktune.

Three ways to ask for it:

    python -m sparktune.compat script.py ...   # nothing in the program changes
    import sparktune.compat.hyperopt           # first line of the program
    sparktune.compat.install()                 # the same, and uninstall() takes it back

``compat.load(path)`` reads ``Trials`` that hyperopt has pickled; it needs none of them.
"""

from sparktune.compat.finder import aliased, install, is_installed, uninstall
from sparktune.compat.pickles import load, loads

__all__ = ["aliased", "install", "is_installed", "load", "loads", "uninstall"]
