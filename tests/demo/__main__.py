"""`python -m tests.demo`: the demonstration, for a person or unattended."""

import sys

from tests.demo.run import main

sys.exit(main(sys.argv[1:]))
