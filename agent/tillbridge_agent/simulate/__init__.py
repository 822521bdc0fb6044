"""Simulated machines of a store, for demonstrations and tests; nothing here runs on a real till."""
