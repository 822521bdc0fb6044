"""Tests in a real browser, and the invented chain they look at."""
