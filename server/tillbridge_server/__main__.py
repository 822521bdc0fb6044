"""`python -m tillbridge_server`: the command `tillbridge-server`, where its script is not on the path."""

from tillbridge_server.cli import main

main()
