"""`python -m email_orchestrator`."""

from .cli import main

main()
