"""Earlier results from elsewhere for a search, and a study's trials for other programs.

``warm_start=`` of ``fmin`` and ``Study`` takes what the functions here return; most things it takes as they are. The
bridges have more of them: ``sparktune.bridges.optuna.load`` and ``sparktune.bridges.mlflow.runs``.
"""

from sparktune.exchange.source import Source, from_documents, from_storage, from_trials
from sparktune.exchange.studies import from_optuna
from sparktune.exchange.tables import from_csv, from_dataframe, from_parquet

__all__ = [
    "Source",
    "from_csv",
    "from_dataframe",
    "from_documents",
    "from_optuna",
    "from_parquet",
    "from_storage",
    "from_trials",
]
