"""``python -m mvc``: the command line without its script."""

from mvc.cli import main

if __name__ == "__main__":
    main()
