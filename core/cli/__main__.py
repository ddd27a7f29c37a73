"""``python -m core.cli`` is ``stafet``."""

from core.cli.main import main

main()
