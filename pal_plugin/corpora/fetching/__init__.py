"""Downloads public clips from their documented URLs, verifies and lays them out for the recipes."""
