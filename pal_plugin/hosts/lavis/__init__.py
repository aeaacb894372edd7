"""salesforce-lavis as a host: only this package imports it.

Importing `lavis` registers this package (see `pal_plugin/__init__.py`), so it comes first:
otherwise a module of this package could be requested while it is partially imported.
"""

import lavis  # noqa: F401
