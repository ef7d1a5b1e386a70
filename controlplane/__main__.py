"""``plimsoll``, also as ``python -m controlplane``."""

from controlplane.cli.group import plimsoll


def main() -> None:
    """Run the command line and exit."""
    plimsoll(prog_name="plimsoll")


if __name__ == "__main__":
    main()
