"""One file per screen: read, choose the words, render; no SQL and no rules here."""
