"""Recipes of the pocket weights. Only needed to reproduce them, not to use the plugin."""
