"""Read models of the screens: plain functions over a connection, never a write."""
