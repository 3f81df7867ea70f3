"""Databases: files of SQLite, and a PostgreSQL server that is started for the tests."""

import itertools
import sys
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed: pip install 'sparktune[sql]'")
sys.path.insert(0, str(Path(__file__).parent))

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'psycopg[binary]'")
    import postgres_server

    try:
        server = postgres_server.Server()
    except postgres_server.NoServer as error:
        pytest.skip(f"PostgreSQL cannot be started here: {error}")
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    return request.getfixturevalue("postgres").new_database(f"test_{next(_numbers)}")
