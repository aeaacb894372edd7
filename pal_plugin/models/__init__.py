"""The audio-LLM: what it is made of, what it does, and its ways to and from disk."""
