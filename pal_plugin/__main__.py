"""`python -m pal_plugin` is the console command `pal`."""

import sys

from pal_plugin.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
