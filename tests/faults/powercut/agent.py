"""`python -m tests.faults.powercut.agent MUTANT run …`: the real agent, as it is ("none") or with one mistake made."""

import sys

from tests.faults.powercut.mutants import mutate

from tillbridge_agent.cli import main

if __name__ == "__main__":
    mutate(sys.argv.pop(1))
    main()
