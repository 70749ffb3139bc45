"""`python -m tl_core`: the command line."""

import sys

if __name__ == "__main__":
    try:
        from tl_core.cli import main

        code = main()
    except KeyboardInterrupt:
        # Before or after what `main` looks after: while modules are read, or on the way out.
        code = 130
    sys.exit(code)
