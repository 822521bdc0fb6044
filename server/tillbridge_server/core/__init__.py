"""Rules of the server; pure: no clock, disk, net, random or logging."""
