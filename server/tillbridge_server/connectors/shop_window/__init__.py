"""The built-in shop window: a small storefront of our own, for demos, dry runs and tests."""
