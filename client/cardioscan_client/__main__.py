"""``python -m cardioscan_client`` is the command ``cardioscan``."""

from cardioscan_client.cli import main

if __name__ == "__main__":
    main(prog_name="cardioscan")
