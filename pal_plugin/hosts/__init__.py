"""Frameworks that the core is plugged into. The core never imports a host."""
