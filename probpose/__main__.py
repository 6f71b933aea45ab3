"""`python -m probpose` is the command `probpose`."""

__all__ = ()

from probpose.cli import main

if __name__ == "__main__":
    main()
