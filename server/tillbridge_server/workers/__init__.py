"""Loops that carry out what rules decided: thin, woken by events, safe to stop at any moment."""
