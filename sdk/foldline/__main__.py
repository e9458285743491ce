"""`python -m foldline` is the `foldline` command."""

from foldline.cli.main import main

if __name__ == "__main__":
    main()
