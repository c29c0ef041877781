"""The command line as ``python -m kaleidoscope``."""

from kaleidoscope.cli import main

if __name__ == "__main__":
    main()
