"""The agent's store: one SQLite file, one connection, one thread; statements stand by name in *.sql."""
