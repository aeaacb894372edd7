"""Recipes that make the pocket weights. Not needed to use the plugin, only to make them again."""
