"""Rules of the agent; pure: no clock, disk, net, random or logging."""
