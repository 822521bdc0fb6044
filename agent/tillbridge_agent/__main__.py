"""`python -m tillbridge_agent`: the command `tillbridge-agent`, where its script is not on the path."""

from tillbridge_agent.cli import main

main()
