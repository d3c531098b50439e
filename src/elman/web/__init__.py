"""The inspector: a small local web server over run folders, and its page.

Everything in this room needs the extra ``web``; importing it without says so.
"""

from elman.errors import require

require("starlette", "web")
