"""An engine process that is loading for as long as it lives, and hears nothing meanwhile."""

from __future__ import annotations

import time

if __name__ == "__main__":
    time.sleep(300)
