"""Public clips from their documented addresses, checked and laid out as the recipes read them."""
