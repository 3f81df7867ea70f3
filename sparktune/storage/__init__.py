"""Where a study is kept: its events, in a file, in a folder of an object store, or in a database."""
