"""The one place that names the release; packaging and both dialects read it from here.

Knows nothing else.
"""

from __future__ import annotations

__version__ = "0.10.0"
