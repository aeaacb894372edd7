"""An HTTP server with OpenAI's interface, on FastAPI and uvicorn; started by `pal serve`.

Needs `pip install 'pal-plugin[serve]'`.
"""
