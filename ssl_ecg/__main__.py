"""``python -m ssl_ecg`` is ``ssl-ecg``."""

import sys

from ssl_ecg.cli import main

if __name__ == "__main__":
    sys.exit(main())
