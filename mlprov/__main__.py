"""``python -m mlprov``: the command line."""

import sys

from mlprov.cli.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
