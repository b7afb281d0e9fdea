"""``python -m hsrzoo``: the command line without its script on the PATH."""

from hsrzoo.cli.main import main

if __name__ == "__main__":
    main()
