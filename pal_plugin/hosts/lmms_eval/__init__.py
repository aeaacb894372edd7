"""lmms-eval as a host: `lmms-eval --model pal --model_args pretrained=small ...`.

Only `model.py` and `registration.py` import it, and lmms-eval imports these by its entry points.
"""
