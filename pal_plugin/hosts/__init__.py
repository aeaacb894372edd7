"""Frameworks that the core plugs into. The core never imports a host."""
