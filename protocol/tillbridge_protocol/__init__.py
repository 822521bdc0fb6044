"""The contract between agents and server; pure: no clock, disk, net or random."""
