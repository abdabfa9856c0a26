"""`python -m avprep`: the command avprep."""

from avprep.cli import main

if __name__ == "__main__":
    main(prog_name="python -m avprep")
