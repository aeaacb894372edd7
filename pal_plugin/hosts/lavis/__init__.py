"""salesforce-lavis as a host: everything that imports it is in this room.

Importing `lavis` registers what is here (see `pal_plugin/__init__.py`), so it comes first: a module
of this room that met an unregistered LAVIS would be asked for while it is half imported.
"""

import lavis  # noqa: F401
