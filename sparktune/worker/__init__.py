"""What runs in the process that evaluates: on a Spark worker, or in a local one.

Spark's workers need not have sparktune: these modules travel to them as source (:mod:`sparktune.spark.shipping`), under
a name of their own. Hence the rules here: the standard library alone, ``pyspark`` and ``pyarrow`` inside functions,
relative imports. The chain of processes is

    Python worker (Spark's, or ours)  ->  guardian  ->  the process in which objectives run

:mod:`.task` and :mod:`.pilot` are what the worker is asked to do, :mod:`.evaluator` is its side of an evaluation,
:mod:`.guardian` ends what must not outlive the worker, and :mod:`.child` calls the objective.
"""
