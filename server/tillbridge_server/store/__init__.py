"""The server's store: plain synchronous functions over a SQLAlchemy Core connection, one call = one transaction."""
