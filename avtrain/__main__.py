"""`python -m avtrain`: the command avtrain."""

from avtrain.cli import main

if __name__ == "__main__":
    main(prog_name="python -m avtrain")
