"""The server: what runs at head office."""
