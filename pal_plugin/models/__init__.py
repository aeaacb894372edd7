"""The audio-LLM: its components, training and inference, saving and loading."""
