"""Stand-ins for what is outside: the wire, the clock, the disk, a storefront.

The only room where fakes may live. A fake keeps the promises of what it stands for, says in its docstring which of
them it breaks on purpose, and draws its randomness from a seed it is given.
"""
