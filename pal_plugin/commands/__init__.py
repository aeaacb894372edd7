"""Subcommands of the console command `pal`, one module each; `main` has their table."""
